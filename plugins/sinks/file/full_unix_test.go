//go:build !windows

package main

import "syscall"

const diskFullError = syscall.ENOSPC
