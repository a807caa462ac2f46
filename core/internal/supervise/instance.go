package supervise

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
)

// State of a device or sink, as status shows it.
type State string

// States, as design.md section 8 names them.
const (
	Starting   State = "starting"
	Up         State = "up"
	Failing    State = "failing"     // start or Open failed, also between tries
	BackingOff State = "backing_off" // waiting after a run that was up
	Stopped    State = "stopped"
)

// Pause between tries: it doubles from the first to the longest, with jitter.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 30 * time.Second
	refusedPause = 2 * time.Second // after a batch that the host could not take, where it does not say when it can
)

// Status is a snapshot of an Instance.
type Status struct {
	State    State
	Version  string
	Error    string // why it is not up; empty when it is
	Restarts uint64 // processes started after the first
	Tried    bool   // it was up or failed at least once
}

// Session is what runs while a process does: it opens the plugin, calls up, and works until ctx ends or something
// fails. It is called again for the same process after an error of the plugin's own.
type Session func(ctx context.Context, proc *Process, up func()) error

// Instance keeps one plugin running for one device or sink.
type Instance struct {
	program Program
	session Session
	log     *slog.Logger

	mu     sync.Mutex
	status Status        // guarded by mu
	wasUp  bool          // guarded by mu: since the last failure
	tried  chan struct{} // closed when status.Tried becomes true
}

// NewInstance makes an instance; Run starts it.
func NewInstance(p Program, s Session, log *slog.Logger) *Instance {
	return &Instance{program: p, session: s, log: log, status: Status{State: Starting}, tried: make(chan struct{})}
}

// Status gives a snapshot.
func (i *Instance) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// Tried is closed once the plugin was up or has failed.
func (i *Instance) Tried() <-chan struct{} { return i.tried }

// Run starts the process and starts it again whenever it ends, until ctx does.
func (i *Instance) Run(ctx context.Context) error {
	pause := &restarts{pause: life.Backoff{First: firstPause, Longest: longestPause}}
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			i.restarted()
		}
		err := Run(ctx, i.program, func(ctx context.Context, proc *Process) error {
			return i.sessions(ctx, proc, pause)
		})
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, ctx.Err()) {
				i.log.Error("did not stop in time", "err", err)
			}
			break
		}
		i.down(err)
		if err := pause.after(ctx, err); err != nil {
			break
		}
	}
	i.set(Stopped, "")
	return nil
}

func (i *Instance) restarted() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status.Restarts++
}

// sessions opens the plugin again and again in one process. It ends when the process is to be replaced: it is gone,
// hangs, or is of no use.
func (i *Instance) sessions(ctx context.Context, proc *Process, pause *restarts) error {
	i.mu.Lock()
	i.status.Version = proc.Manifest.Version
	i.mu.Unlock()
	for {
		err := i.session(ctx, proc, func() { i.up(pause) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = errors.New("the plugin ended its work without a reason")
		}
		if errors.Is(err, wire.ErrGone) || errors.Is(err, wire.ErrHung) {
			return err
		}
		i.down(err)
		if err := pause.after(ctx, err); err != nil {
			return err
		}
	}
}

func (i *Instance) up(pause *restarts) {
	i.mu.Lock()
	i.wasUp = true
	i.mu.Unlock()
	pause.up()
	i.set(Up, "")
	i.log.Info("up")
}

// down records a failure: backing off after a run that was up, failing otherwise.
func (i *Instance) down(err error) {
	i.mu.Lock()
	state := Failing
	if i.wasUp {
		state = BackingOff
	}
	i.wasUp = false
	i.mu.Unlock()
	text := "the plugin ended without a reason"
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	var bug *life.Panic
	if errors.As(err, &bug) {
		i.log.Error("bug in hostd: panic", "err", text, "stack", string(bug.Stack))
	}
	i.set(state, text)
	i.log.Warn("down", "state", string(state), "err", text)
}

func (i *Instance) set(s State, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status.State, i.status.Error = s, text
	if !i.status.Tried && s != Starting {
		i.status.Tried = true
		close(i.tried)
	}
}

// restarts is the pause between tries: it starts small again only when the plugin stayed up longer than the last one.
type restarts struct {
	pause life.Backoff
	since time.Time // of the last time up; zero after a failure
}

func (r *restarts) up() { r.since = time.Now() }

// after is the pause after a failure. Want of room is not the device's fault: its pause does not grow, and a full disk is
// over when the host says so.
func (r *restarts) after(ctx context.Context, failure error) error {
	var full *noRoomError
	switch {
	case !errors.As(failure, &full):
		return r.wait(ctx)
	case full.room == nil:
		b := life.Backoff{First: refusedPause, Longest: refusedPause}
		return b.Wait(ctx)
	}
	select {
	case <-full.room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *restarts) wait(ctx context.Context) error {
	if !r.since.IsZero() && time.Since(r.since) > r.pause.Pause() {
		r.pause.Reset()
	}
	r.since = time.Time{}
	return r.pause.Wait(ctx)
}
