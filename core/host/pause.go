package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/hostd/hostd/core/internal/durable"
	"github.com/hostd/hostd/core/internal/life"
)

// gate holds a unit while it is paused.
type gate struct {
	mu     sync.Mutex
	paused bool               // guarded by mu
	open   chan struct{}      // guarded by mu: closed at the end of a pause
	stop   context.CancelFunc // guarded by mu: ends the run that is on; nil between runs
	over   chan struct{}      // guarded by mu: closed at the end of that run
}

// run runs f whenever the unit is not paused, until ctx ends or f does by itself.
func (g *gate) run(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		run, err := g.pass(ctx)
		if err != nil {
			return err
		}
		err = life.Call(func() error { return f(run) })
		paused := run.Err() != nil
		g.ended()
		if ctx.Err() != nil || !paused {
			return err
		}
	}
}

// ended lets the context of the run go.
func (g *gate) ended() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop()
	g.stop = nil
	close(g.over)
}

// quiet waits until no run is on; the caller has begun a pause.
func (g *gate) quiet(ctx context.Context) error {
	g.mu.Lock()
	stop, over := g.stop, g.over
	g.mu.Unlock()
	if stop == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass waits until there is no pause, and gives the context of a run.
func (g *gate) pass(ctx context.Context) (context.Context, error) {
	for {
		g.mu.Lock()
		if !g.paused {
			run, stop := context.WithCancel(ctx)
			g.stop, g.over = stop, make(chan struct{})
			g.mu.Unlock()
			return run, nil
		}
		open := g.open
		g.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// set begins or ends a pause.
func (g *gate) set(paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case paused == g.paused:
	case paused:
		g.open = make(chan struct{})
		if g.stop != nil {
			g.stop()
		}
	default:
		close(g.open)
	}
	g.paused = paused
}

func (g *gate) isPaused() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paused
}

// pause begins or ends a pause of a device or sink. It is kept over restarts. The end of one, also where there was none, has
// a plugin tried again that was given up after too many crashes.
func (h *Host) pause(a NameArgs, paused bool) error {
	h.reload.applying.Lock()
	defer h.reload.applying.Unlock()
	r := h.now()
	units := slices.Concat(r.devices, r.sinks)
	at := slices.IndexFunc(units, func(u *unit) bool { return u.name == a.Name })
	if at < 0 {
		return fmt.Errorf("there is no device or sink %q in the configuration", a.Name)
	}
	what := opResume
	if paused {
		what = opPause
	}
	if err := h.audit.note(a.By, what, a); err != nil {
		return err
	}
	return h.setPause(units[at], paused)
}

// setPause begins or ends a pause, and keeps it. applying is held.
func (h *Host) setPause(unit *unit, paused bool) error {
	unit.gate.set(paused)
	if b := unit.beside; paused && b != nil {
		b.before.leave() // it may still work beside this one
	}
	if !paused {
		unit.inst.CloseBreaker()
	}
	var names []string
	for _, u := range slices.Concat(h.now().devices, h.now().sinks) {
		if u.gate.isPaused() {
			names = append(names, u.name)
		}
	}
	return writePaused(h.places.paused, names)
}

// reset makes a device begin anew: its position and its plugin's memory are forgotten. What it sent before is the same
// record when it sends it again.
func (h *Host) reset(ctx context.Context, a NameArgs) error {
	devices := h.now().devices
	at := slices.IndexFunc(devices, func(u *unit) bool { return u.name == a.Name })
	if at < 0 {
		return fmt.Errorf("there is no device %q in the configuration", a.Name)
	}
	if err := h.audit.note(a.By, opReset, a); err != nil {
		return err
	}
	devices[at].beside.do()
	g := devices[at].gate
	if !g.isPaused() {
		g.set(true)
		defer g.set(false)
	}
	if err := g.quiet(ctx); err != nil {
		return fmt.Errorf("stop device: %w", err)
	}
	if err := h.spool.ForgetDevice(ctx, a.Name); err != nil {
		return err
	}
	if err := os.RemoveAll(h.places.stateOf("devices", a.Name)); err != nil {
		return fmt.Errorf("forget what the plugin remembers: %w", err)
	}
	return nil
}

func writePaused(path string, names []string) error {
	b, err := json.Marshal(names)
	if err != nil {
		return fmt.Errorf("keep pauses: %w", err)
	}
	if err := durable.WriteFile(path, b); err != nil {
		return fmt.Errorf("keep pauses: %w", err)
	}
	return nil
}

// pausedNames are the devices and sinks that were paused when the host ended, or they left the configuration. A file that cannot be
// read pauses nobody.
func (h *Host) pausedNames() (names []string) {
	b, err := os.ReadFile(h.places.paused)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		h.log.Error("pauses not read: every device and sink runs", "err", err)
		return nil
	}
	return names
}
