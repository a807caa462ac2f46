//go:build unix

package main

import "syscall"

// stopped stops the whole process, as a debugger or a machine that is put to sleep does.
func stopped() {
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGSTOP); err != nil {
		panic(err)
	}
}
