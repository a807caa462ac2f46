package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Deadlines of a process.
const (
	startTimeout    = 15 * time.Second
	describeTimeout = 5 * time.Second
	healthEvery     = 3 * time.Second
	healthTimeout   = 2 * time.Second
	killAfter       = 3 * time.Second // politeness at the end
	stopWaiting     = 5 * time.Second
	joinTimeout     = 6 * time.Second // for the work on the process to come to its end
)

// stderrTail is how much of a plugin's last words is kept, in bytes.
const stderrTail = 2 << 10

// Program is a plugin's binary and what a process of it gets from the host.
type Program struct {
	Name      string       // of the device or sink, for errors
	Path      string       // of the binary
	SocketDir string       // for Unix sockets: short, and the host's alone
	Log       hclog.Logger // takes what the plugin logs
}

// ErrStart is a process that did not become a plugin: the text says what it did instead.
var ErrStart = errors.New("plugin does not start")

// Process is a running plugin.
type Process struct {
	Conn     *wire.Conn
	Manifest sdk.Manifest
	client   *plugin.Client
	cmd      *exec.Cmd
	kill     context.CancelFunc // ends the whole process group at once
	last     *tail
	servers  *life.Group // of Store and Cache for this plugin
	broker   uint32      // their id; 0 before the first ServeStore
}

// Run starts the program, describes it, runs use beside a health watch, and ends the process when either ends or ctx
// does. It returns the first error, with the plugin's last words where the process ended by itself. It blocks the
// calling goroutine's thread for the life of the process.
func Run(ctx context.Context, p Program, use func(ctx context.Context, proc *Process) error) error {
	runtime.LockOSThread() // Linux kills a child when the thread that made it ends
	defer runtime.UnlockOSThread()
	proc, err := start(ctx, p)
	if err != nil {
		return err
	}
	g := life.NewGroup(ctx)
	ended := make(chan error, 1)
	g.Go("health of "+p.Name, proc.watch)
	g.Go("use of "+p.Name, func(ctx context.Context) error {
		err := use(ctx, proc)
		ended <- err
		return err
	})
	select {
	case err = <-ended:
	case err = <-g.Failed():
	}
	g.Cancel()
	if errors.Is(err, wire.ErrHung) {
		proc.kill() // a frozen process answers no polite word
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinTimeout)
	defer cancel()
	joined := g.Stop(wait)
	gone := proc.client.Exited()
	proc.stop()
	err = errors.Join(err, joined, proc.servers.Stop(wait))
	if gone && err != nil && ctx.Err() == nil {
		err = proc.lastWords(err)
	}
	return err
}

func start(ctx context.Context, p Program) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	alive, kill := context.WithCancel(context.WithoutCancel(ctx)) // ends later than ctx: stop is polite first
	cmd := exec.CommandContext(alive, p.Path)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.Env = append(environ(), "PLUGIN_UNIX_SOCKET_DIR="+p.SocketDir)
	cmd.SysProcAttr = processAttributes()
	proc := &Process{cmd: cmd, kill: kill, last: &tail{}, servers: life.NewGroup(context.WithoutCancel(ctx))}
	proc.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Glue{}},
		Cmd:              cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     startTimeout,
		Logger:           p.Log,
		Stderr:           proc.last,
		SyncStdout:       lines(p.Log, "stdout"),
		SyncStderr:       lines(p.Log, "stderr"),
		GRPCDialOptions:  wire.DialOptions(),
	})
	if err := proc.handshake(ctx); err != nil {
		proc.kill()
		proc.stop()
		return nil, proc.lastWords(fmt.Errorf("%w: %s: %w", ErrStart, p.Path, plain(err)))
	}
	return proc, nil
}

// handshake starts, dials and describes; the end of ctx kills the process, since go-plugin's start has no context.
func (p *Process) handshake(ctx context.Context) error {
	guard := life.NewGroup(ctx)
	started := make(chan struct{})
	guard.Go("start guard", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			p.kill()
		case <-started:
		}
		return nil
	})
	defer func() { close(started); _ = guard.Wait() }() // the guard returns no error
	rpc, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := rpc.Dispense(wire.PluginName)
	if err != nil {
		return err
	}
	conn, ok := raw.(*wire.Conn)
	if !ok {
		return fmt.Errorf("glue gave a %T", raw)
	}
	p.Conn = conn
	described, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	p.Manifest, err = conn.Describe(described)
	return err
}

// watch returns an error when the process has ended or does not answer twice in a row.
func (p *Process) watch(ctx context.Context) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	missed := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		probe, cancel := context.WithTimeout(ctx, healthTimeout)
		err := p.Conn.Health(probe)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			missed = 0
		case errors.Is(err, wire.ErrHung) && missed == 0:
			missed++
		default:
			return err
		}
	}
}

// stop ends the process: go-plugin's polite way first, by handle after killAfter, and it waits no longer than stopWaiting.
func (p *Process) stop() {
	g := life.NewGroup(context.Background())
	done := make(chan struct{})
	g.Go("go-plugin kill", func(context.Context) error {
		p.client.Kill()
		close(done)
		return nil
	})
	polite, rude := time.NewTimer(killAfter), time.NewTimer(stopWaiting)
	defer polite.Stop()
	defer rude.Stop()
	for {
		select {
		case <-done:
			p.kill()
			if p.cmd.Process != nil {
				_ = killGroup(p.cmd.Process) // what the plugin itself started; an error means that nothing is left
			}
			return
		case <-polite.C:
			p.kill()
		case <-rude.C:
			return
		}
	}
}

// lastWords adds the exit code and the end of the standard error to err.
func (p *Process) lastWords(err error) error {
	if p.client.Exited() && p.cmd.ProcessState != nil {
		err = fmt.Errorf("%w (%s)", err, p.cmd.ProcessState)
	}
	if words := p.last.String(); words != "" {
		err = fmt.Errorf("%w; its last words: %s", err, words)
	}
	return err
}

// plain shortens go-plugin's advice, which spans many lines and speaks to programmers.
func plain(err error) error {
	text := err.Error()
	if strings.Contains(text, "Unrecognized remote plugin message") {
		return errors.New("it printed something other than the handshake before serving; a plugin must not write to its standard output")
	}
	if strings.Contains(text, "plugin exited before we could connect") {
		return errors.New("it exited before serving")
	}
	if strings.Contains(text, "timeout while waiting for plugin to start") {
		return fmt.Errorf("no handshake within %s", startTimeout)
	}
	if head, _, many := strings.Cut(text, "\n"); many {
		return errors.New(head)
	}
	return err
}

// environ is the whole environment of a plugin: nothing of the host's own, which holds secrets.
func environ() []string {
	allowed := []string{"PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "LANG", "HOME", "USERPROFILE", "GOCOVERDIR"}
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(allowed, strings.ToUpper(name)) {
			env = append(env, kv)
		}
	}
	return env
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - stderrTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

// String is what is kept, without the lines that are log records.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []string
	for line := range bytes.Lines(t.buf) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '{' {
			words = append(words, string(line))
		}
	}
	if len(words) > 10 {
		words = words[:10] // a panic's first lines name it; the rest is the stack
	}
	return strings.Join(words, " | ")
}

// lines carries what a plugin prints into its log.
func lines(log hclog.Logger, stream string) io.Writer {
	return &lineWriter{log: log.With("stream", stream)}
}

type lineWriter struct{ log hclog.Logger }

// Write never fails.
func (w *lineWriter) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			w.log.Warn("plugin printed", "text", string(line[:min(len(line), 200)]))
		}
	}
	return len(b), nil
}
