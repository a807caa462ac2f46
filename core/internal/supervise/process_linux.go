package supervise

import (
	"os"
	"syscall"
)

// processAttributes gives the child its own group, so that all of it can be killed, and ends it with the thread that
// made it: the second belt beside the standard input that only the host holds.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup ends the process and what it started. An error means that nothing is left to end.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// endWithHost has nothing to do: processAttributes ties each child to the host.
func endWithHost() error { return nil }
