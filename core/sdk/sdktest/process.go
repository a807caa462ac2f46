package sdktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Deadlines of the contract, as the host has them.
const (
	openTime   = 15 * time.Second
	closeTime  = 3 * time.Second
	healthTime = 2 * time.Second
	endTime    = 2 * time.Second // from the end of the standard input to the end of the process
)

// Waits of the suite.
const (
	stopTime = 15 * time.Second       // for a process to be stopped
	slow     = time.Second            // a host that takes its time
	quiet    = 300 * time.Millisecond // after which nothing more is expected
)

// Build makes the binary of a main package and returns its path. The package is given as `go build` takes it, relative
// to the test's folder. The binary has the name of the package's folder.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	if pkg == "" {
		pkg = "."
	}
	folder, err := filepath.Abs(pkg)
	if err != nil {
		t.Fatalf("find package %s: %v", pkg, err)
	}
	binary := filepath.Join(t.TempDir(), filepath.Base(folder))
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// nameOf is a binary's name without the ending of Windows.
func nameOf(binary string) string { return strings.TrimSuffix(filepath.Base(binary), ".exe") }

// process is a running plugin.
type process struct {
	conn     *wire.Conn
	manifest sdk.Manifest
	binary   string
	pid      int
	log      *book
	group    *life.Group   // of the process, and of the servers that it dials
	die      chan struct{} // closed: the process is killed at once
	once     sync.Once     // of die
	host     io.Closer     // the end of its standard input that only the host holds
}

// start starts the plugin as the host does; it is stopped at the end of the test at the latest.
func start(t testing.TB, binary string) *process {
	t.Helper()
	sockets, err := os.MkdirTemp("", "hostd") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatalf("make folder for sockets: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) }) // a folder that stays is the system's to empty
	p := &process{binary: binary, log: &book{}, group: life.NewGroup(context.WithoutCancel(t.Context())), die: make(chan struct{})}
	program := supervise.Program{Name: nameOf(binary), Path: binary, SocketDir: sockets, Log: p.log.logger()}
	if err := p.run(program); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

func (p *process) run(program supervise.Program) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make standard input: %w", err)
	}
	defer func() { _ = r.Close() }() // the process has its own copy
	program.Stdin, p.host = r, w
	ready := make(chan *supervise.Process, 1)
	p.group.Go("plugin", func(ctx context.Context) error {
		return supervise.Run(ctx, program, func(ctx context.Context, proc *supervise.Process) error {
			ready <- proc
			select {
			case <-p.die:
				return wire.ErrHung // supervise kills what hangs, at once
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	select {
	case proc := <-ready:
		p.conn, p.manifest, p.pid = proc.Conn, proc.Manifest, proc.PID()
		return nil
	case err := <-p.group.Failed():
		return err
	}
}

// stop ends the process and waits for it.
func (p *process) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTime)
	defer cancel()
	if err := p.group.Stop(ctx); err != nil && ctx.Err() != nil {
		t.Errorf("stop plugin: %v", err)
	}
	_ = p.host.Close() // it may be closed already
}

// kill ends the process as kill -9 does.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.once.Do(func() { close(p.die) })
	p.stop(t)
}

// endHost closes the standard input and says whether the process is gone within endTime.
func (p *process) endHost(t testing.TB) bool {
	t.Helper()
	if err := p.host.Close(); err != nil {
		t.Fatalf("close standard input: %v", err)
	}
	return p.awaitGone(t.Context(), endTime)
}

// awaitGone says whether the process ends within the limit.
func (p *process) awaitGone(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		probe, done := context.WithTimeout(ctx, 500*time.Millisecond)
		err := p.conn.Health(probe)
		done()
		if errors.Is(err, wire.ErrGone) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// during kills the process while it is in a call.
func (p *process) during(t testing.TB, call func(ctx context.Context) error) {
	t.Helper()
	g := life.NewGroup(t.Context())
	g.Go("call", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, openTime)
		defer cancel()
		return call(ctx)
	})
	p.kill(t)
	_ = g.Wait() // its error is that the process is gone, or it was faster
}

// answers asks for its health, as the host does every few seconds.
func (p *process) answers(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healthTime)
	defer cancel()
	if err := p.conn.Health(ctx); err != nil {
		t.Errorf("Health: %v within %v", err, healthTime)
	}
}

// pause lets the suite be slow.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// book keeps what a plugin's process logs and prints.
type book struct {
	mu      sync.Mutex
	text    bytes.Buffer // guarded by mu: the host's log of it
	written bytes.Buffer // guarded by mu: its standard error, as it is
}

// Write takes one line of the log.
func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) logger() hclog.Logger {
	return &pageLogger{b, hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: b, JSONFormat: true})}
}

// pageLogger also takes a plugin's standard error as it is, see supervise.
type pageLogger struct {
	b *book
	hclog.Logger
}

// Lines takes the standard error.
func (l *pageLogger) Lines() io.Writer { return (*page)(l.b) }

// page is the part of a book for the standard error.
type page book

// Write takes a part of it.
func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written.Write(b)
}

// said is the standard error so far.
func (b *book) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}

// logged is the host's log so far.
func (b *book) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// printed gives the lines that the plugin wrote to its standard output after the handshake.
func (b *book) printed() (list []string) {
	for line := range strings.Lines(b.logged()) {
		if strings.Contains(line, "plugin printed") && strings.Contains(line, `"stdout"`) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
