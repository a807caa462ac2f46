//go:build !linux

package main

import (
	"errors"
	"os"
)

// openTTY is for Linux.
func openTTY(string) (*os.File, error) {
	return nil, errors.New("--port works on Linux alone: join the driver by --connect or --listen")
}
