//go:build !windows

package host

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// tryLock takes the file for this process until it is closed or the process ends. ErrLocked: another one has it.
func tryLock(path string) (io.Closer, error) { return flock(path, os.O_RDWR|os.O_CREATE) }

// locked says whether a process has the file. It makes none, and holds it for a moment at most.
func locked(path string) (bool, error) { return isLocked(flock(path, os.O_RDWR)) }

func flock(path string, flag int) (io.Closer, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
