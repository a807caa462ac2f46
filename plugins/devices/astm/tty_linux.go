package main

import (
	"fmt"
	"os"
	"syscall"
)

// openTTY opens a serial port as it is set.
func openTTY(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open port: %w", err)
	}
	return f, nil
}
