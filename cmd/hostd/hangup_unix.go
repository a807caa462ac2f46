//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hangups gets the SIGHUPs of this process, one at a time.
func hangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}
