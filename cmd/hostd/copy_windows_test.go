package main_test

import (
	"os"
	"syscall"
)

// halfCopied is the state of a plugin of whose file half is there.
const halfCopied = "waiting"

// createToCopy makes a file as a program does that copies: nobody else may open it.
func createToCopy(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_WRITE, 0, nil, syscall.CREATE_NEW, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
