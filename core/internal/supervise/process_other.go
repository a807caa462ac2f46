//go:build !linux && !windows

package supervise

import (
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// group is the plugin's process group.
type group struct{}

// begin leaves all as it is: these systems have no limit of another process's memory. What soften says is all there is.
func (group) begin(*os.Process, int64, bool) error { return nil }

// kill ends the process and what it started. An error means that nothing is left to end.
func (group) kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// close has nothing to give back.
func (group) close() {}

// endWithHost has nothing to do: the standard input is the one belt of these systems.
func endWithHost() error { return nil }
