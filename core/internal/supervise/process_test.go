package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
)

// idle is work on a process that waits for its end.
func idle(ctx context.Context, _ *Process) error { <-ctx.Done(); return ctx.Err() }

func TestBadStarts(t *testing.T) {
	for _, c := range []struct {
		program string
		timeout time.Duration
		says    []string
	}{
		{"prints", 0, []string{`printed "hello from the plugin"`, "standard output"}},
		{"quits", 0, []string{"exited before serving", "exit status 3", "last words: no licence found"}},
		{"mute", 300 * time.Millisecond, []string{"no handshake within 300ms"}},
		{"longline", 0, []string{`printed "xxxxxxxxxx`, "standard output"}},
		{"silent", 0, []string{"it hangs", "does not say within 10s what it is", "another version"}},
		{"frozen", 0, []string{"it hangs", "does not say within 10s what it is", "another version"}},
		{"future", 0, []string{"speaks version 2 of the contract", "this host speaks 1", "install the release"}},
		{"absent", 0, []string{"absent"}},
	} {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			p := program(t, c.program)
			p.StartTimeout = c.timeout
			err := Run(t.Context(), p, func(context.Context, *Process) error {
				t.Error("use of a plugin that did not start")
				return nil
			})
			if !errors.Is(err, ErrStart) {
				t.Errorf("Run = %v, want ErrStart", err)
			}
			mentions(t, err, append(c.says, p.Path)...)
			if left, err := os.ReadDir(p.SocketDir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if err != nil && len(err.Error()) > 2<<10 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := program(t, "mute")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := Run(ctx, p, idle); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, want the end of ctx", err)
	}
	if took := time.Since(begin); took > startTimeout-time.Second {
		t.Errorf("took %s: the start was waited for", took)
	}
}

func TestStopIsPolite(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var proc *Process
	err := Run(ctx, program(t, "plugin"), func(ctx context.Context, p *Process) error {
		proc = p
		cancel()
		return idle(ctx, p)
	})
	if err != nil {
		t.Errorf("Run = %v", err)
	}
	if s := proc.cmd.ProcessState; s == nil || s.ExitCode() != 0 {
		t.Errorf("the plugin ended with %v, want its own exit 0", s)
	}
}

// A session that does not end by its ctx is given up at the end of the host, and named; while the host lives, Run waits
// for it, so that no second one runs beside it.
func TestWorkThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	let, left := make(chan struct{}), make(chan struct{})
	var cancelled time.Time
	err := Run(ctx, program(t, "plugin"), func(context.Context, *Process) error {
		defer close(left)
		cancelled = time.Now()
		cancel()
		<-let
		return nil
	})
	if took := time.Since(cancelled); took > joinTimeout+stopWaiting {
		t.Errorf("stop took %s", took)
	}
	mentions(t, err, "still running", "use of plugin")
	close(let)
	<-left
}

func TestRunsNeverOverlap(t *testing.T) {
	t.Parallel()
	let, killed, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	p := program(t, "plugin")
	go func() {
		done <- Run(t.Context(), p, func(ctx context.Context, p *Process) error {
			p.kill()
			<-ctx.Done() // the health watch has seen it
			close(killed)
			<-let
			return nil
		})
	}()
	recv(t, "end of the process", killed)
	select {
	case err := <-done:
		t.Errorf("Run = %v while the work on its process goes on", err)
	case <-time.After(joinTimeout + time.Second):
	}
	close(let)
	if err := recv(t, "Run", done); !errors.Is(err, wire.ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HOSTD_TEST_SECRET", "marked")
	t.Setenv("LD_LIBRARY_PATH", "/nowhere")
	d := newRig(t, "plugin", `{"mode":"environment"}`)
	d.run(t)
	until(t, "environment", func() bool { _, err := os.Stat(filepath.Join(d.Open.StateDir, "environment")); return err == nil })
	text, err := os.ReadFile(filepath.Join(d.Open.StateDir, "environment"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "marked") {
		t.Error("the host's environment reaches the plugin")
	}
	may := []string{
		"PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "LANG", "HOME", "USERPROFILE", "GOCOVERDIR", "HOSTD_PLUGIN",
		"PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_CLIENT_CERT", "PLUGIN_UNIX_SOCKET_DIR",
		"GOMEMLIMIT",
	}
	inside := false // the certificate spans lines
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "=")
		if !inside && line != "\n" && !slices.Contains(may, strings.ToUpper(strings.TrimSpace(name))) {
			t.Errorf("the plugin has %s", name)
		}
		inside = (inside || strings.HasPrefix(line, "PLUGIN_CLIENT_CERT=")) && !strings.Contains(line, "END CERTIFICATE")
	}
}

func TestTailKeepsTheBeginningOfAPanic(t *testing.T) {
	keep := &tail{}
	write := func(line string) {
		for _, part := range []string{line, "\n"} {
			if n, err := keep.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
	}
	long := strings.Repeat("z", 3*stderrTail)
	write("early")
	write(long)
	write("late")
	if s := keep.String(); strings.Contains(s, "early") || !strings.HasSuffix(s, "z | late") || len(s) > stderrTail+3 {
		t.Errorf("kept %d bytes, ending %q", len(s), s[max(0, len(s)-10):])
	}
	write(`{"@message":"a log line"}`)
	write("panic: runtime error: wires crossed")
	for range 200 {
		write("goroutine 7 [running]:")
	}
	write(long)
	if s := keep.String(); !strings.HasPrefix(s, "panic: runtime error: wires crossed | goroutine 7") || len(s) > stderrTail {
		t.Errorf("kept %q", s)
	}
}
