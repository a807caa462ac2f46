package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Deadlines of a process.
const (
	startTimeout    = 15 * time.Second // where the program names none
	describeTimeout = 10 * time.Second // from its handshake to its manifest
	healthEvery     = 3 * time.Second
	healthTimeout   = 2 * time.Second
	killAfter       = 3 * time.Second         // politeness at the end
	stopWaiting     = 4 * time.Second         // for the process, however it ends: with joinTimeout the longest stop, which is below 10 s
	joinTimeout     = 5500 * time.Millisecond // for the work on the process to come to its end
)

// Program is a plugin's binary and what a process of it gets from the host.
type Program struct {
	Name      string       // of the device or sink, for errors
	Path      string       // of the binary
	SocketDir string       // for Unix sockets: short, and the host's alone
	Log       hclog.Logger // takes what the plugin logs
	Memory    int64        // bytes that a process may use; 0 is no limit. See group.begin of each system
	Yields    bool         // the processor goes to others first where there is too little: to the host, and to who reads instruments
	Stdin     *os.File     // its standard input, at whose end it ends; nil is this process's own, see HoldPlugins
	// StartTimeout is how long the process may take to its handshake; 0 is 15 seconds.
	StartTimeout time.Duration
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
	group    group       // the process with what it starts
	sockets  string      // its folder in Program.SocketDir; empty before the start
	servers  *life.Group // of Store and Cache for this plugin
	broker   uint32      // their id; 0 before the first ServeStore
	worked   atomic.Bool // a batch was acknowledged or settled
}

// Run starts the program, describes it, runs use beside a health watch, and ends the process when either ends or ctx
// does. It returns the first error, with the plugin's last words where the process ended by itself; at the end of ctx
// only what did not stop is an error. While ctx lives it returns after use has, so that two runs never overlap. It
// blocks the calling goroutine's thread for the life of the process.
func Run(ctx context.Context, p Program, use func(ctx context.Context, proc *Process) error) error {
	runtime.LockOSThread() // Linux kills a child when the thread that made it ends
	defer runtime.UnlockOSThread()
	proc, err := start(ctx, p)
	if err != nil {
		return err
	}
	g := life.NewGroup(ctx)
	ended := make(chan error, 1)
	g.Go("health of "+p.Name, func(ctx context.Context) error { return watchHealth(ctx, proc.Conn.Health) })
	g.Go("use of "+p.Name, func(ctx context.Context) error {
		ended <- use(ctx, proc)
		return nil
	})
	select {
	case err = <-ended:
	case err = <-g.Failed():
	case <-ctx.Done():
	}
	return proc.end(ctx, g, err)
}

// end joins the work on the process and ends it.
func (p *Process) end(ctx context.Context, g *life.Group, err error) error {
	g.Cancel()
	if errors.Is(err, wire.ErrHung) {
		p.kill() // a frozen process answers no polite word
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinTimeout)
	defer cancel()
	joined := g.Stop(wait)
	if wait.Err() != nil {
		p.kill() // what still runs may wait for it
	}
	own := p.client.Exited() || errors.Is(err, wire.ErrGone)
	p.stop(context.WithoutCancel(ctx))
	if wait.Err() != nil {
		joined = g.Stop(ctx) // the process is gone, so only the host's own work is left
	}
	servers := p.servers.Stop(wait)
	if ctx.Err() != nil {
		return errors.Join(joined, servers)
	}
	if !errors.Is(joined, err) { // a failed health watch is in both
		joined = errors.Join(err, joined)
	}
	if joined != nil && own {
		joined = p.lastWords(joined)
	}
	return errors.Join(joined, servers)
}

// PID is the process's number at the system.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func start(ctx context.Context, p Program) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.StartTimeout <= 0 {
		p.StartTimeout = startTimeout
	}
	alive, kill := context.WithCancel(context.WithoutCancel(ctx)) // ends later than ctx: stop is polite first
	cmd := exec.CommandContext(alive, p.Path)
	cmd.Env = append(environ(), soften(p.Memory)...)
	cmd.SysProcAttr = processAttributes()
	proc := &Process{cmd: cmd, kill: kill, last: &tail{}, servers: life.NewGroup(context.WithoutCancel(ctx))}
	cmd.Cancel = func() error { return proc.group.kill(cmd.Process) }
	proc.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Glue{}},
		RunnerFunc:       proc.runner(p),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.SocketDir},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     p.StartTimeout,
		Logger:           p.Log,
		Stderr:           proc.stderr(p.Log),
		SyncStdout:       lines(p.Log, "stdout"),
		SyncStderr:       lines(p.Log, "stderr"),
		GRPCDialOptions:  wire.DialOptions(),
	})
	if err := proc.handshake(ctx); err != nil {
		proc.kill()
		proc.stop(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, proc.lastWords(fmt.Errorf("%w: %s: %w", ErrStart, p.Path, explain(p, err)))
	}
	return proc, nil
}

// stderr takes what the plugin writes there: its last words, and its log where the logger reads the lines itself, which
// keeps go-plugin from parsing them: a line of the wrong form would panic there.
func (p *Process) stderr(log hclog.Logger) io.Writer {
	if own, ok := log.(interface{ Lines() io.Writer }); ok {
		return io.MultiWriter(p.last, own.Lines())
	}
	return p.last
}

// handshake starts the process, and has it say what it is.
func (p *Process) handshake(ctx context.Context) error {
	err := p.guarded(ctx, func(context.Context) error {
		_, err := p.client.Start()
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	return p.guarded(ctx, p.describe)
}

// guarded makes a call of go-plugin, which has no context: at the end of ctx the process is killed, and so is the call.
func (p *Process) guarded(ctx context.Context, call func(ctx context.Context) error) error {
	guard := life.NewGroup(ctx)
	done := make(chan struct{})
	guard.Go("start guard", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			p.kill()
		case <-done:
		}
		return nil
	})
	err := call(ctx)
	close(done)
	_ = guard.Wait() // the guard returns no error
	if err != nil && ctx.Err() != nil {
		return wire.ErrHung
	}
	return err
}

// describe dials and asks for the manifest.
func (p *Process) describe(ctx context.Context) error {
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
	p.Manifest, err = conn.Describe(ctx)
	return err
}

// watchHealth returns an error when the process has ended or does not answer twice in a row: twice healthEvery and one
// healthTimeout after it fell silent, at most.
func watchHealth(ctx context.Context, health func(ctx context.Context) error) error {
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
		err := health(probe)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			missed = 0
		case errors.Is(err, wire.ErrHung) && missed == 0:
			missed++
		case errors.Is(err, wire.ErrHung), errors.Is(err, wire.ErrGone):
			return err
		default:
			return fmt.Errorf("%w: %w", wire.ErrHung, err)
		}
	}
}

// stop ends the process: go-plugin's polite way first, by handle after killAfter, and it waits no longer than stopWaiting.
func (p *Process) stop(ctx context.Context) {
	defer p.group.close()
	defer func() { _ = os.RemoveAll(p.sockets) }() // what stays is emptied at the next start of the host
	g := life.NewGroup(ctx)
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
				_ = p.group.kill(p.cmd.Process) // what the plugin itself started; an error means that nothing is left
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
	words := p.last.String()
	if words != "" {
		err = fmt.Errorf("%w; its last words: %s", err, words)
	}
	if strings.Contains(words, "out of memory") {
		err = fmt.Errorf("%w; it may have more with memory_mb", err)
	}
	return err
}

// explain says what kept a plugin from starting, and what to do about it.
func explain(p Program, err error) error {
	if wrong := Diagnose(p.Path); wrong != nil {
		return wrong
	}
	if errors.Is(err, wire.ErrHung) {
		return fmt.Errorf("it hangs: it has begun to serve, and does not say within %s what it is; put another version of it there: %w", describeTimeout, err)
	}
	return plain(err, p.StartTimeout)
}

// quoted is how much of a wrong handshake an error shows, in bytes.
const quoted = 200

// otherVersion begins go-plugin's words for a plugin of another version of the contract.
const otherVersion = "incompatible API version with plugin. Plugin version: "

// plain shortens go-plugin's advice, which spans many lines and speaks to programmers.
func plain(err error, limit time.Duration) error {
	text, rest, many := strings.Cut(err.Error(), "\n")
	printed, wrong := strings.CutPrefix(text, "Unrecognized remote plugin message:")
	theirs, ours, other := strings.Cut(strings.TrimPrefix(text, otherVersion), ", Client versions: ")
	switch printed = strings.TrimSpace(printed); {
	case other && strings.HasPrefix(text, otherVersion):
		return fmt.Errorf("it speaks version %s of the contract, and this host speaks %s: install the release of the plugin for this host, or the hostd that the plugin asks for", theirs, strings.Trim(ours, "[]"))
	case strings.Contains(text, "plugin exited before we could connect"), wrong && printed == "" && strings.HasPrefix(rest, "Failed to read any lines"):
		return errors.New("it exited before serving")
	case wrong:
		return fmt.Errorf("it printed %q before serving; a plugin must not write to its standard output", printed[:min(len(printed), quoted)])
	case strings.Contains(text, "timeout while waiting for plugin to start"):
		return fmt.Errorf("no handshake within %s", limit)
	case many:
		return errors.New(text)
	}
	return err
}

// soften is the environment that has Go keep the memory below the limit, where it is 0 nothing: near it Go collects more,
// and a plugin gets slow before it meets the limit.
func soften(memory int64) []string {
	if memory <= 0 {
		return nil
	}
	return []string{fmt.Sprintf("GOMEMLIMIT=%d", memory/4*3)}
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
