package supervise

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes gives the child its own group, so that all of it can be killed, and ends it with the thread that
// made it: the second belt beside the standard input that only the host holds.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// group is the plugin's process group.
type group struct{}

// begin lowers the priority of the process that has just started, and limits its memory and that of each that it will start. The limit is on what it
// has mapped to write to: a limit on addresses would be met by Go's reservations, which cost nothing. What a process asks
// for above it, it does not get; Go ends it then, and says so.
func (group) begin(p *os.Process, memory int64, yields bool) error {
	if yields { // of every thread that it has by now; later ones have it from these
		if err := unix.Setpriority(unix.PRIO_PGRP, p.Pid, niceness); err != nil {
			return fmt.Errorf("lower priority: %w", err)
		}
	}
	if memory <= 0 {
		return nil
	}
	limit := unix.Rlimit{Cur: uint64(memory + unused), Max: uint64(memory + unused)}
	if err := unix.Prlimit(p.Pid, unix.RLIMIT_DATA, &limit, nil); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	return nil
}

// niceness of a process that yields: a tenth of the weight of others.
const niceness = 10

// unused is what Go's runtime has mapped and does not use, in bytes, so that the limit is on what is used.
const unused = 128 << 20

// kill ends the process and what it started. An error means that nothing is left to end.
func (group) kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// close has nothing to give back.
func (group) close() {}

// endWithHost has nothing to do: processAttributes ties each child to the host.
func endWithHost() error { return nil }
