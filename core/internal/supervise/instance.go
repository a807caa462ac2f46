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
	Starting    State = "starting"
	Up          State = "up"
	Failing     State = "failing"      // start or Open failed, also between tries
	BackingOff  State = "backing_off"  // waiting after a run that was up
	BreakerOpen State = "breaker_open" // no more tries after too many crashes
	Stopped     State = "stopped"
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
	// OnCrash, where it is set, hears of each crash: the plugin did not start, ended by itself, or was killed because it
	// hung. It is set before Run, whose goroutine calls it before the plugin is started again and waits for it.
	OnCrash func(err error)

	program Program
	session Session
	log     *slog.Logger

	mu     sync.Mutex
	status Status        // guarded by mu
	wasUp  bool          // guarded by mu: since the last failure
	tried  chan struct{} // closed when status.Tried becomes true
	closed chan struct{} // guarded by mu: CloseBreaker closes it; nil unless the breaker is open
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

// Run starts the process and starts it again whenever it ends, until ctx does. It begins with a closed breaker.
func (i *Instance) Run(ctx context.Context) error {
	pause := &restarts{pause: life.Backoff{First: firstPause, Longest: longestPause}}
	crashes := &breaker{}
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			i.restarted()
		}
		worked := false
		err := Run(ctx, i.program, func(ctx context.Context, proc *Process) error {
			defer func() { worked = proc.worked.Load() }()
			return i.sessions(ctx, proc, pause)
		})
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, ctx.Err()) {
				i.log.Error("did not stop in time", "err", err)
			}
			break
		}
		if worked {
			crashes.reset()
		}
		if err := i.rest(ctx, err, crashes, pause); err != nil {
			break
		}
	}
	i.set(Stopped, "")
	return nil
}

// rest is the time between a process that has ended with err and the next one. An error is the end of ctx.
func (i *Instance) rest(ctx context.Context, err error, crashes *breaker, pause *restarts) error {
	crash := isCrash(err)
	if crash && i.OnCrash != nil {
		i.OnCrash(err)
	}
	if crash && crashes.crash(time.Now()) {
		crashes.reset()
		pause.reset()
		return i.giveUp(ctx, err)
	}
	i.down(err)
	return pause.after(ctx, err)
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
	text := reason(err)
	var bug *life.Panic
	if errors.As(err, &bug) {
		i.log.Error("bug in hostd: panic", "err", text, "stack", string(bug.Stack))
	}
	i.set(state, text)
	i.log.Warn("down", "state", string(state), "err", text)
}

// longestReason is how much of an error's text is kept, in bytes: a plugin may say anything.
const longestReason = 4 << 10

// reason is an error as one line.
func reason(err error) string {
	if err == nil {
		return "the plugin ended without a reason"
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(text) > longestReason {
		text = strings.ToValidUTF8(text[:longestReason], "") + "..."
	}
	return text
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

// reset makes the next pause the first one again.
func (r *restarts) reset() { r.since = time.Time{}; r.pause.Reset() }

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
