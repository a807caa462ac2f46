package supervise

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/hostd/hostd/core/internal/wire"
)

// A frozen plugin keeps its connection; only its silence tells.
func TestFrozenPlugin(t *testing.T) {
	t.Parallel()
	w := newRig(t, "plugin", `{}`).run(t)
	w.reached(t, Up)
	pid := w.newest().cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	until(t, "its end", func() bool { return gone(pid) })
	if took := time.Since(frozen); took > 15*time.Second {
		t.Errorf("noticed and gone after %s", took)
	}
	w.reached(t, Up, BackingOff, Up)
	mentions(t, fmt.Errorf("%s", w.reasons()), wire.ErrHung.Error())
}

func TestFrozenPluginDoesNotHoldTheStop(t *testing.T) {
	t.Parallel()
	w := newRig(t, "plugin", `{}`).run(t)
	w.reached(t, Up)
	pid := w.newest().cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	w.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stop took %s", took)
	}
	if !gone(pid) {
		t.Error("the process is still there")
	}
}

// gone is true for a process that has ended, reaped or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// smallHost is the test binary as a host that starts one plugin, says its pid and waits to be killed.
func smallHost(mode string) {
	path := os.Getenv("HOSTD_TEST_PLUGIN")
	release, err := HoldPlugins()
	if err != nil {
		panic(err)
	}
	defer release()
	runtime.LockOSThread()
	switch mode {
	case "supervised":
		p := Program{Name: "orphan", Path: path, SocketDir: os.Getenv("HOSTD_TEST_SOCKETS"), Log: hclog.NewNullLogger()}
		err = Run(context.Background(), p, func(ctx context.Context, proc *Process) error {
			fmt.Println("pid", proc.cmd.Process.Pid)
			return idle(ctx, proc)
		})
		panic(err)
	case "stdin": // the one belt: no Pdeathsig
		h := wire.Handshake()
		cmd := exec.Command(path)
		cmd.Env = append(environ(), h.MagicCookieKey+"="+h.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR="+os.Getenv("HOSTD_TEST_SOCKETS"))
		cmd.Stdin = os.Stdin
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = bufio.NewReader(out).ReadString('\n') // the handshake: it serves
		}
		fmt.Println("pid", cmd.Process.Pid, err)
		time.Sleep(time.Hour)
	case "deathsig": // the other belt: a program that does not look at its standard input
		cmd := exec.Command(path)
		cmd.SysProcAttr = processAttributes()
		err := cmd.Start()
		fmt.Println("pid", cmd.Process.Pid, err)
		time.Sleep(time.Hour)
	}
	panic(mode)
}

// A plugin does not outlive its host, however that ends, and each belt holds alone.
func TestNoOrphans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mode, plugin string }{{"supervised", "plugin"}, {"stdin", "plugin"}, {"deathsig", "mute"}} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			p := program(t, c.plugin)
			host := exec.Command(os.Args[0])
			host.Env = append(os.Environ(), "HOSTD_TEST_HOST="+c.mode, "HOSTD_TEST_PLUGIN="+p.Path, "HOSTD_TEST_SOCKETS="+p.SocketDir)
			host.Stderr = os.Stderr
			out, err := host.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			line, err := bufio.NewReader(out).ReadString('\n')
			if _, scan := fmt.Sscanf(line, "pid %d", &pid); scan != nil || gone(pid) {
				t.Fatalf("host said %q, %v", line, err)
			}
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			if err := host.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = host.Wait() // it was killed
			begin := time.Now()
			until(t, "end of the plugin", func() bool { return gone(pid) })
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("the plugin outlived its host for %s", took)
			}
		})
	}
}

// What the plugin itself has started goes with it: the group is killed, not the process.
func TestStandardInputIsTheHostsPipe(t *testing.T) {
	to, err := os.Readlink("/proc/self/fd/" + fmt.Sprint(os.Stdin.Fd()))
	if err != nil || !strings.HasPrefix(to, "pipe:") {
		t.Errorf("standard input is %s, %v", to, err)
	}
}
