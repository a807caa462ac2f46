package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/route"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
)

// Names of operations, as they stand in the audit.
const (
	opReplay  = "replay"
	opRequeue = "dead.requeue"
	opDrop    = "dead.drop"
	opPause   = "pause"
	opResume  = "resume"
	opReset   = "devices.reset"
	opRename  = "devices.rename"
	opForget  = "spool.forget"
	opAssign  = "assign"
	opReload  = "reload"
	opTake    = "plugins.take"
	opBack    = "plugins.back"
	opApprove = "plugins.approve"
	opRemove  = "plugins.remove"
	opPlugins = "plugins"
)

// ReplayArgs choose the records that a sink is given once more. Empty fields choose all.
type ReplayArgs struct {
	By     string    `json:"by"`   // who asks, for the audit
	Sink   string    `json:"sink"` // required
	Device string    `json:"device,omitempty"`
	Kind   string    `json:"kind,omitempty"` // pattern, * is any text
	ID     string    `json:"id,omitempty"`   // of the record
	From   time.Time `json:"from,omitzero"`  // received at or after
	To     time.Time `json:"to,omitzero"`    // received before
	Dry    bool      `json:"dry,omitempty"`  // only count
}

// DeadArgs choose dead letters.
type DeadArgs struct {
	By   string   `json:"by"`
	Sink string   `json:"sink,omitempty"` // empty: all sinks
	Seqs []uint64 `json:"seqs,omitempty"` // numbers of records; empty with All: all letters
	All  bool     `json:"all,omitempty"`
	Why  string   `json:"why,omitempty"` // of a drop; required there
}

// NameArgs name one device or sink.
type NameArgs struct {
	By   string `json:"by"`
	Name string `json:"name"`
}

// RenameArgs name a device and the name that it is to have.
type RenameArgs struct {
	By   string `json:"by"`
	Name string `json:"name"`
	To   string `json:"to"`
}

// Count answers how many records an operation concerned.
type Count struct {
	Records int `json:"records"`
}

// operate is admin.Operate.
func (h *Host) operate(ctx context.Context, name string, args []byte) (any, error) {
	switch name {
	case opReplay:
		return do(args, func(a ReplayArgs) (Count, error) { return h.replay(ctx, a) })
	case opRequeue:
		return do(args, func(a DeadArgs) (Count, error) { return h.requeue(ctx, a) })
	case opDrop:
		return do(args, func(a DeadArgs) (Count, error) { return h.drop(a) })
	case opAssign:
		return do(args, func(a AssignArgs) (Assigned, error) { return h.assign(ctx, a) })
	case opNote:
		return do(args, func(a NoteArgs) (Count, error) { return Count{}, h.audit.note(a.By, a.What, a.Args) })
	case opReload:
		return do(args, func(a ReloadArgs) (Reloaded, error) { return h.Reload(ctx, a.By) })
	case opPlugins:
		return h.plugins(), nil
	case opApprove:
		return do(args, h.approve)
	case opRemove:
		return do(args, func(a NameArgs) (Count, error) { return Count{}, h.removePlugin(a) }) //nolint:contextcheck // units live in their groups
	case opForget:
		return do(args, func(a NameArgs) (Count, error) { return h.forget(ctx, a) })
	case opReset:
		return do(args, func(a NameArgs) (Count, error) { return Count{}, h.reset(ctx, a) })
	case opRename:
		return do(args, func(a RenameArgs) (Count, error) { return Count{}, h.rename(ctx, a) })
	case opPause:
		return do(args, func(a NameArgs) (Count, error) { return Count{}, h.pause(a, true) })
	case opResume:
		return do(args, func(a NameArgs) (Count, error) { return Count{}, h.pause(a, false) })
	}
	return nil, fmt.Errorf("%w: %s", admin.ErrOperation, name)
}

func do[A, R any](args []byte, f func(A) (R, error)) (any, error) {
	var a A
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrArguments, err)
	}
	return f(a)
}

// replay gives a sink records once more: those which the routes of now send to it.
func (h *Host) replay(ctx context.Context, a ReplayArgs) (Count, error) {
	r := h.now()
	at := slices.IndexFunc(r.sinks, func(u *unit) bool { return u.name == a.Sink })
	if at < 0 {
		return Count{}, fmt.Errorf("there is no sink %q in the configuration", a.Sink)
	}
	if !a.Dry {
		if err := h.audit.note(a.By, opReplay, a); err != nil {
			return Count{}, err
		}
	}
	n, err := h.spool.Replay(ctx, r.routing.sinks[at], spool.Pick{
		Device: a.Device, From: a.From, To: a.To, Match: r.routing.chosen(at, a.Kind, a.ID),
	}, a.Dry)
	return Count{n}, err
}

// chosen says whether a record is for the sink with that number in the route table, of the kind and with the id.
func (r *routing) chosen(sink int, kind, id string) func(device string, payload []byte) bool {
	var head wire.Head
	return func(device string, payload []byte) bool {
		if wire.Scan(payload, &head) != nil {
			return false // it is no record of this version: nothing could be delivered
		}
		if id != "" && string(head.ID) != id || kind != "" && !route.Like(kind, string(head.Kind)) {
			return false
		}
		return r.table.Match(device, head.Kind, head.Label)>>sink&1 == 1
	}
}

// forget lets go of a parked sink: what waits for it, or is held back, is given up, and its dead letters stay.
func (h *Host) forget(ctx context.Context, a NameArgs) (Count, error) {
	h.reload.applying.Lock() // no reload brings it back meanwhile
	defer h.reload.applying.Unlock()
	if slices.ContainsFunc(h.now().sinks, func(u *unit) bool { return u.name == a.Name }) {
		return Count{}, fmt.Errorf("the sink %s is in the configuration: take it out first", a.Name)
	}
	if err := h.audit.note(a.By, opForget, a); err != nil {
		return Count{}, err
	}
	dropped := 0
	for l, err := range h.spool.Held(a.Name) { // first: while the sink is known, the rest can be forgotten again
		if err == nil {
			err = h.spool.Drop(l, "the sink was forgotten")
		}
		if err != nil {
			return Count{dropped}, err
		}
		dropped++
	}
	n, err := h.spool.ForgetSink(ctx, a.Name)
	return Count{n + dropped}, err
}

func (h *Host) requeue(ctx context.Context, a DeadArgs) (n Count, err error) {
	return h.eachLetter(a, opRequeue, func(l *spool.DeadLetter) error { return h.spool.Requeue(ctx, l) })
}

func (h *Host) drop(a DeadArgs) (n Count, err error) {
	if a.Why == "" {
		return n, errors.New("a drop needs a reason, for the audit")
	}
	drop := func(l *spool.DeadLetter) error { return h.spool.Drop(l, a.Why) }
	if n, err = h.eachLetter(a, opDrop, drop); err != nil || a.All {
		return n, err
	}
	for l, err := range h.spool.Held(a.Sink) { // by their numbers alone: they are no failures
		if err == nil && slices.Contains(a.Seqs, l.Seq) {
			n.Records++
			err = drop(l)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// eachLetter does something to the chosen dead letters, after the audit knows of it.
func (h *Host) eachLetter(a DeadArgs, what string, act func(*spool.DeadLetter) error) (n Count, err error) {
	if len(a.Seqs) == 0 && !a.All {
		return n, errors.New("name records by their number, or say all")
	}
	if err := h.audit.note(a.By, what, a); err != nil {
		return n, err
	}
	for l, err := range h.spool.DeadLetters(a.Sink) {
		if err != nil {
			return n, err
		}
		if !a.All && !slices.Contains(a.Seqs, l.Seq) {
			continue
		}
		if err := act(l); err != nil {
			return n, err
		}
		n.Records++
	}
	return n, nil
}

// ask has a running host do an operation, with the token of its data folder.
func ask(ctx context.Context, c *config.Config, name string, args, answer any) error {
	p, err := newPlaces(c)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(p.token)
	if err != nil {
		return Environment(fmt.Errorf("read the token of the running host: %w", err))
	}
	return admin.Client{Addr: c.Admin.Listen}.Do(ctx, string(token), name, args, answer)
}

// Replay asks the running host to give a sink records once more, and says how many.
func Replay(ctx context.Context, c *config.Config, a ReplayArgs) (n Count, err error) {
	err = ask(ctx, c, opReplay, a, &n)
	return n, err
}

// Requeue asks the running host to deliver dead letters once more.
func Requeue(ctx context.Context, c *config.Config, a DeadArgs) (n Count, err error) {
	err = ask(ctx, c, opRequeue, a, &n)
	return n, err
}

// Drop asks the running host to give up dead letters for good.
func Drop(ctx context.Context, c *config.Config, a DeadArgs) (n Count, err error) {
	err = ask(ctx, c, opDrop, a, &n)
	return n, err
}

// Pause asks the running host to stop a device or sink until Resume, also over restarts.
func Pause(ctx context.Context, c *config.Config, a NameArgs) error {
	return ask(ctx, c, opPause, a, nil)
}

// Reset asks the running host to let a device begin anew.
func Reset(ctx context.Context, c *config.Config, a NameArgs) error {
	return ask(ctx, c, opReset, a, nil)
}

// Rename asks the running host to let a device go on under another name.
func Rename(ctx context.Context, c *config.Config, a RenameArgs) error {
	return ask(ctx, c, opRename, a, nil)
}

// Forget asks the running host to let go of a sink that is not in its configuration, and of what waits for it.
func Forget(ctx context.Context, c *config.Config, a NameArgs) error {
	return ask(ctx, c, opForget, a, nil)
}

// Resume ends a Pause, and has a plugin started again that crashed too often.
func Resume(ctx context.Context, c *config.Config, a NameArgs) error {
	return ask(ctx, c, opResume, a, nil)
}
