package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	w.reached(t, Up, BackingOff)
	t.Logf("gone and told after %s", time.Since(frozen))
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
		err = Run(context.Background(), orphan(path), func(ctx context.Context, proc *Process) error {
			proc.serveStore(nil, nil)
			for own := 0; own < 2; { // the plugin's socket, and the host's for its store
				found, err := filepath.Glob(filepath.Join(proc.sockets, "plugin*"))
				if err != nil {
					return err
				}
				own = len(found)
			}
			fmt.Println("pid", proc.cmd.Process.Pid)
			return idle(ctx, proc)
		})
		panic(err)
	case "huge":
		if err = hugeAnswer(path); err != nil {
			fmt.Println(err)
		}
		os.Exit(0)
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

func orphan(path string) Program {
	return Program{Name: "orphan", Path: path, SocketDir: os.Getenv("HOSTD_TEST_SOCKETS"), Log: hclog.NewNullLogger()}
}

// A plugin does not outlive its host, however that ends, and each belt holds alone.
func TestNoOrphans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mode, plugin string }{{"supervised", "plugin"}, {"stdin", "plugin"}, {"deathsig", "mute"}} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			p := program(t, c.plugin)
			host := exec.Command(os.Args[0])
			temp := t.TempDir()
			host.Env = append(os.Environ(), "HOSTD_TEST_HOST="+c.mode, "HOSTD_TEST_PLUGIN="+p.Path, "HOSTD_TEST_SOCKETS="+p.SocketDir, "TMPDIR="+temp)
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
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary folder, and not in that of the sockets: %v, %v", left, err)
			}
		})
	}
}

// A process that ends leaves no socket, however it does.
func TestSocketsGoWithTheirProcess(t *testing.T) {
	t.Parallel()
	for _, killed := range []bool{false, true} {
		p := program(t, "plugin")
		ctx, cancel := context.WithCancel(t.Context())
		err := Run(ctx, p, func(_ context.Context, proc *Process) error {
			if found, err := os.ReadDir(p.SocketDir); err != nil || len(found) != 1 {
				t.Errorf("%d folders of sockets while it runs, %v", len(found), err)
			}
			if killed {
				return proc.cmd.Process.Kill()
			}
			cancel()
			return nil
		})
		cancel()
		if left, rerr := os.ReadDir(p.SocketDir); rerr != nil || len(left) > 0 {
			t.Errorf("killed %t: left %v, %v; Run = %v", killed, left, rerr, err)
		}
	}
}

// memoryLine is one of the lines of /proc/self/status, in bytes.
func memoryLine(name string) (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// hugeAnswer has a host of its own read from a plugin that sends 300 MiB, and prints by how much its memory grew at most.
func hugeAnswer(path string) error {
	return Run(context.Background(), orphan(path), func(ctx context.Context, proc *Process) error {
		if err := proc.Conn.OpenDevice(ctx, wire.OpenDevice{Name: "huge", Settings: []byte("{}")}); err != nil {
			return err
		}
		before, err := memoryLine("VmRSS")
		if err != nil {
			return err
		}
		stream, err := proc.Conn.RunDevice(ctx)
		if err != nil {
			return err
		}
		refused := stream.Recv(&wire.Incoming{})
		after, err := memoryLine("VmHWM")
		fmt.Println("grew", after-before, refused)
		return err
	})
}

// R12: an answer of 300 MiB is refused at the message cap, before it is in the host's memory.
func TestHugeAnswer(t *testing.T) {
	t.Parallel()
	p := program(t, "huge")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), "HOSTD_TEST_HOST=huge", "HOSTD_TEST_PLUGIN="+p.Path, "HOSTD_TEST_SOCKETS="+p.SocketDir)
	host.Stderr = os.Stderr
	out, err := host.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var grew int64
	if _, err := fmt.Sscanf(string(out), "grew %d", &grew); err != nil || grew > 64<<20 {
		t.Errorf("the host grew by %d bytes: %s", grew, out)
	}
	mentions(t, errors.New(string(out)), "message too large", "vs. 16777216")
	t.Logf("%s", out)
}

// killed is how a process ends that was.
const killed = "signal: killed"

// limited has nothing to ask: there are limits always.
func limited(*testing.T) {}

func TestStandardInputIsTheHostsPipe(t *testing.T) {
	to, err := os.Readlink("/proc/self/fd/" + fmt.Sprint(os.Stdin.Fd()))
	if err != nil || !strings.HasPrefix(to, "pipe:") {
		t.Errorf("standard input is %s, %v", to, err)
	}
}
