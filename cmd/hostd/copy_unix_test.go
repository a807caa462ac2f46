//go:build !windows

package main_test

import "os"

// halfCopied is the state of a plugin of whose file half is there.
const halfCopied = "not_taken"

// createToCopy makes a file as a program does that copies.
func createToCopy(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o700)
}
