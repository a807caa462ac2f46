package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/durable"
)

// renaming is a rename that is under way, as it stands in its file.
type renaming struct {
	Name string `json:"name"`
	To   string `json:"to"`
}

// rename lets a device go on under another name: its position, what its plugin remembers, its counts and what is found. The
// device stays paused under the old name until its name in the configuration is the new one: begun anew it would give everything
// again. What was stored keeps the old name, by which the sinks know it.
//
// The group of the spool decides: the folder is moved before it, and moved back by the next start where it is not on the disk.
func (h *Host) rename(ctx context.Context, a RenameArgs) error {
	select {
	case h.reload.turn <- struct{}{}: // the configuration stays as it is meanwhile
		defer func() { <-h.reload.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := errors.Join(h.settleRename(), h.mayRename(a)); err != nil {
		return err
	}
	if err := h.audit.note(a.By, opRename, a); err != nil {
		return err
	}
	var held []*gate
	if at := named(h.now().devices, a.Name); at >= 0 {
		u := h.now().devices[at]
		if err := h.keepPaused(u); err != nil {
			return err
		}
		u.beside.do() // the unit before it has a gate of its own
		held = append(held, u.gate)
	}
	if at := named(h.now().devices, a.To); at >= 0 {
		g := h.now().devices[at].gate
		if held = append(held, g); !g.isPaused() {
			g.set(true)
			defer g.set(false) // with its history
		}
	}
	for _, g := range held {
		if err := g.quiet(ctx); err != nil {
			return fmt.Errorf("stop device: %w", err)
		}
	}
	return h.move(ctx, renaming{Name: a.Name, To: a.To}, held)
}

// keepPaused pauses a device, over restarts, too.
func (h *Host) keepPaused(u *unit) error {
	h.reload.applying.Lock()
	defer h.reload.applying.Unlock()
	return h.setPause(u, true)
}

// mayRename says what is in the way of a rename.
func (h *Host) mayRename(a RenameArgs) error {
	if err := config.CheckName(a.To); err != nil {
		return err
	}
	switch {
	case named(h.now().sinks, a.To) >= 0:
		return fmt.Errorf("%s is the name of a sink", a.To)
	case !h.spool.KnowsDevice(a.Name):
		return fmt.Errorf("nothing is known of a device %s: there is no history that could go on", a.Name)
	case h.spool.KnowsDevice(a.To):
		return fmt.Errorf("%s has a history of its own, which cannot be joined with another one", a.To)
	case named(h.now().devices, a.Name) < 0 && h.leaves(a.Name):
		return fmt.Errorf("device %s has not come to its end yet: try again", a.Name)
	}
	return nil
}

// leaves says whether a device that left the configuration still runs.
func (h *Host) leaves(name string) bool {
	h.reload.applying.Lock()
	defer h.reload.applying.Unlock()
	u := h.reload.newest[name]
	if u == nil {
		return false
	}
	select {
	case <-u.done:
		return false
	default:
		return true
	}
}

func named(units []*unit, name string) int {
	return slices.IndexFunc(units, func(u *unit) bool { return u.name == name })
}

// move moves the history of a device whose gates are held.
func (h *Host) move(ctx context.Context, r renaming, held []*gate) error {
	h.reload.applying.Lock() // nobody resumes them
	defer h.reload.applying.Unlock()
	if slices.ContainsFunc(held, func(g *gate) bool { return !g.isPaused() }) {
		return errors.New("the device was resumed meanwhile")
	}
	note, err := json.Marshal(r)
	if err == nil {
		err = durable.WriteFile(h.places.renaming, note)
	}
	if err != nil {
		return fmt.Errorf("note the rename: %w", err)
	}
	if err := h.places.moveState(r.Name, r.To); err != nil {
		return errors.Join(err, h.settleRename())
	}
	if err := h.spool.RenameDevice(ctx, r.Name, r.To); err != nil {
		if ctx.Err() != nil { // it may still reach the disk, which the next start sees
			return err
		}
		return errors.Join(err, h.settleRename())
	}
	h.intake.moveCount(r.Name, r.To)
	h.log.Info("device renamed", "device", r.To, "before", r.Name)
	return h.settleRename()
}

// settleRename brings a rename that was begun to its end, or takes it back where the spool does not know of it.
func (h *Host) settleRename() error {
	note, err := os.ReadFile(h.places.renaming)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var r renaming
	if err == nil {
		err = json.Unmarshal(note, &r)
	}
	if err == nil && h.spool.KnowsDevice(r.Name) { // Rule 18: who has the position has the folder
		if _, there := os.Stat(h.places.stateOf("devices", r.Name)); errors.Is(there, fs.ErrNotExist) {
			err = h.places.moveState(r.To, r.Name)
		}
	}
	if err == nil {
		err = durable.Remove(h.places.renaming)
	}
	if err != nil {
		return fmt.Errorf("settle rename: %w", err)
	}
	return nil
}

// moveState moves a device's folder to another name, whose own, of a device without a history, goes.
func (p *places) moveState(name, to string) error {
	from := p.stateOf("devices", name)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil // moved already, or never made
	}
	if err := os.RemoveAll(p.stateOf("devices", to)); err != nil {
		return fmt.Errorf("empty folder of the new name: %w", err)
	}
	return durable.Rename(from, p.stateOf("devices", to))
}
