package host

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// sharingViolation is ERROR_SHARING_VIOLATION.
const sharingViolation = syscall.Errno(32)

// tryLock takes the file for this process until it is closed or the process ends: it is opened for nobody else.
// ErrLocked: another one has it.
func tryLock(path string) (io.Closer, error) { return openAlone(path, syscall.OPEN_ALWAYS) }

// locked says whether a process has the file. It makes none, and holds it for a moment at most.
func locked(path string) (bool, error) { return isLocked(openAlone(path, syscall.OPEN_EXISTING)) }

func openAlone(path string, how uint32) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, how, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, sharingViolation) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
