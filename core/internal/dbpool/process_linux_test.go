package dbpool_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ordinary makes the command one of a user who is not root, which PostgreSQL asks for, and dir that user's. It ends with
// the test.
func ordinary(cmd *exec.Cmd, dir string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	cmd.Dir = dir
	if os.Getuid() != 0 {
		return nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		who, err = user.Lookup("nobody")
	}
	if err != nil {
		return fmt.Errorf("no user to run it as: %w", err)
	}
	uid, err1 := strconv.Atoi(who.Uid)
	gid, err2 := strconv.Atoi(who.Gid)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(err1, err2, os.Chown(dir, uid, gid))
}

// freeze stops the server and all its processes, with their sockets open, until thaw.
func (s *postgresServer) freeze(tb testing.TB) { s.signal(tb, syscall.SIGSTOP) }

func (s *postgresServer) thaw(tb testing.TB) { s.signal(tb, syscall.SIGCONT) }

func (s *postgresServer) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	pid := s.cmd.Process.Pid
	kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err = errors.Join(err, syscall.Kill(pid, sig)); err != nil {
		tb.Fatal(err)
	}
	for _, kid := range strings.Fields(string(kids)) {
		if n, err := strconv.Atoi(kid); err == nil {
			_ = syscall.Kill(n, sig) // it may have ended
		}
	}
}

// quit ends the server at once, with all its connections, and waits for it.
func quit(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
