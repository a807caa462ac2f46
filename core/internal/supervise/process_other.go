//go:build !linux && !windows

package supervise

import (
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends the process and what it started. An error means that nothing is left to end.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// endWithHost has nothing to do: the standard input is the one belt of these systems.
func endWithHost() error { return nil }
