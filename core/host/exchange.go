package host

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/supervise"
)

// takeover is what a unit takes the place of: it starts its plugin beside that of the one before, and when this says what it is, and is well, the one
// before drains and ends at the border of a record. So a version that does not start disturbs nothing.
type takeover struct {
	once   sync.Once
	before *unit
}

// do ends the unit before. It is called before the first session, and at the unit's own end, when nobody may be left behind.
func (t *takeover) do() {
	if t == nil {
		return
	}
	t.once.Do(func() {
		t.before.leave()
		<-t.before.done // supervise bounds it
	})
}

// after makes a session that begins when the unit before has ended.
func (t *takeover) after(session supervise.Session) supervise.Session {
	return func(ctx context.Context, proc *supervise.Process, up func()) error {
		t.do()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return session(ctx, proc, up)
	}
}

// usersOf are the names of the devices and sinks that use a plugin.
func usersOf(c *config.Config, plugin string) (change config.Change) {
	for i := range c.Devices {
		if c.Devices[i].Plugin == plugin {
			change.Devices.Changed = append(change.Devices.Changed, c.Devices[i].Name)
		}
	}
	for i := range c.Sinks {
		if c.Sinks[i].Plugin == plugin {
			change.Sinks.Changed = append(change.Sinks.Changed, c.Sinks[i].Name)
		}
	}
	return change
}

// exchange has every device and sink of the plugin go over to what the store says about it now. It waits for nothing.
func (h *Host) exchange(plugin, by string) error {
	l := &h.reload
	l.applying.Lock()
	defer l.applying.Unlock()
	if l.over {
		return errStopping
	}
	was := h.now()
	change := usersOf(was.cfg, plugin)
	if len(change.Devices.Changed)+len(change.Sinks.Changed) == 0 {
		return nil
	}
	is, err := h.flow(was.cfg, &change)
	if err != nil {
		return err
	}
	h.intake.routing.Store(is.routing)
	h.running.Store(is)
	for _, u := range slices.Concat(without(is.devices, was.devices), without(is.sinks, was.sinks)) {
		if before := l.newest[u.name]; before != nil {
			h.follow(u, before)
		}
	}
	h.startAll(l.groups.sinks, without(is.sinks, was.sinks))
	h.startAll(l.groups.devices, without(is.devices, was.devices))
	h.log.Info("plugin exchanged", "plugin", plugin, "by", by, "devices", len(change.Devices.Changed), "sinks", len(change.Sinks.Changed))
	return nil
}

// follow has u start beside the unit before it where both have a binary, and after it otherwise. l.applying is held.
func (h *Host) follow(u, before *unit) {
	if u.missing != nil || before.missing != nil || before.gate.isPaused() {
		before.leave()
		return
	}
	u.gate = &gate{} // each has its own: both run for a while
	u.beside = &takeover{before: before}
}

// Crashes that are too many for a version that is new: this many within this time.
const (
	backCrashes = 3
	backWithin  = time.Minute
)

// crashed counts the crashes of a version, and goes back to the one before when they are too many.
func (h *Host) crashed(plugin, sum string, now time.Time) {
	if !h.dropins.crash(plugin+" "+sum, now) {
		return
	}
	why := fmt.Sprintf("%d crashes within %s", backCrashes, backWithin)
	back, done, err := h.dropins.store.Back(plugin, sum, why)
	switch {
	case err != nil:
		h.log.Error("plugin not brought back to the version before", "plugin", plugin, "err", err)
		return
	case !done:
		return // there is none before it
	}
	h.log.Error("a plugin crashes again and again: the version before is back", "plugin", plugin, "version", back.Manifest.Version, "sha256", back.SHA256, "refused", sum)
	if err := h.audit.note("hostd", opBack, map[string]string{"plugin": plugin, "sha256": back.SHA256, "refused": sum, "why": why}); err != nil {
		h.log.Error("audit not written", "err", err)
	}
	h.reload.groups.below.Go("exchange of "+plugin, func(context.Context) error {
		if err := h.exchange(plugin, why); err != nil { //nolint:contextcheck // units live in their groups
			h.log.Error("plugin not put into use", "plugin", plugin, "err", err)
		}
		return nil
	})
}

// crash notes one, and says whether they are too many.
func (d *dropins) crash(key string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := append(d.crashes[key], now)
	list = slices.DeleteFunc(list, func(at time.Time) bool { return now.Sub(at) > backWithin })
	d.crashes[key] = list
	return len(list) >= backCrashes
}
