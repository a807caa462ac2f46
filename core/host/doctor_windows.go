package host

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// freeSpace is what this account may still write on the disk of the folder, in bytes.
func freeSpace(dir string) (int64, error) {
	name, err := syscall.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	done, _, err := syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW").Call(
		uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&free)), 0, 0)
	if done == 0 {
		return 0, &os.PathError{Op: "free space", Path: dir, Err: err}
	}
	return int64(free), nil
}

// Of GetNamedSecurityInfo and ConvertSecurityDescriptorToStringSecurityDescriptor.
const (
	objectIsFile   = 1
	listOfRights   = 4
	firstOfStrings = 1
)

// writers names the groups of ordinary users that may write the file or folder.
func writers(path string) ([]string, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	dll := syscall.NewLazyDLL("advapi32.dll")
	var descriptor syscall.Handle
	if code, _, _ := dll.NewProc("GetNamedSecurityInfoW").Call(uintptr(unsafe.Pointer(name)), objectIsFile, listOfRights, 0, 0, 0, 0,
		uintptr(unsafe.Pointer(&descriptor))); code != 0 {
		return nil, &os.PathError{Op: "read rights of", Path: path, Err: syscall.Errno(code)}
	}
	var text *uint16
	var size uint32
	done, _, err := dll.NewProc("ConvertSecurityDescriptorToStringSecurityDescriptorW").Call(uintptr(descriptor), firstOfStrings, listOfRights,
		uintptr(unsafe.Pointer(&text)), uintptr(unsafe.Pointer(&size)))
	if _, ferr := syscall.LocalFree(descriptor); ferr != nil && done != 0 {
		return nil, &os.PathError{Op: "read rights of", Path: path, Err: ferr}
	}
	if done == 0 {
		return nil, &os.PathError{Op: "read rights of", Path: path, Err: err}
	}
	who := writersIn(syscall.UTF16ToString(unsafe.Slice(text, size)))
	if _, err := syscall.LocalFree(syscall.Handle(unsafe.Pointer(text))); err != nil {
		return nil, &os.PathError{Op: "read rights of", Path: path, Err: err}
	}
	return who, nil
}

// devices asks for the target of a device's name, or for all names where it is empty.
func devices(name string) ([]string, error) {
	var ask *uint16
	if name != "" {
		var err error
		if ask, err = syscall.UTF16PtrFromString(name); err != nil {
			return nil, err
		}
	}
	buf := make([]uint16, 1<<16)
	n, _, err := syscall.NewLazyDLL("kernel32.dll").NewProc("QueryDosDeviceW").Call(
		uintptr(unsafe.Pointer(ask)), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if n == 0 {
		return nil, err
	}
	var list []string
	for rest := buf[:n]; ; {
		end := slices.Index(rest, 0)
		if end <= 0 {
			return list, nil
		}
		list = append(list, syscall.UTF16ToString(rest[:end]))
		rest = rest[end+1:]
	}
}

// serialPorts names the serial ports of this computer.
func serialPorts() (names []string) {
	all, err := devices("")
	if err != nil {
		return nil // it is for a hint
	}
	for _, name := range all {
		if comPort.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// lookAtSerial is nil when there is such a port. It does not open it: that would reset some instruments.
func lookAtSerial(name string) error {
	_, err := devices(strings.TrimSuffix(strings.TrimPrefix(name, `\\.\`), ":"))
	return err
}
