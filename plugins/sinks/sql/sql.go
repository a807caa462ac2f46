package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/hostd/hostd/core/sdk"
)

const (
	maxChunk    = 12 << 20 // bytes of one Store.Write on the wire, whose cap is 16 MiB
	aheadFirst  = 100      // records of the first of several writes of a batch, during which nothing else is stored
	aheadRest   = 300      // of each other one, during which the next one is planned
	maxRefusals = 8        // of a batch; from then on each record is written alone, so that the work stays linear
)

// errConflict is the reason of a dead letter.
var errConflict = errors.New("identity conflict: other content is stored under this device and record id")

// sink is the plugin.
type sink struct {
	Schema string         `setting:"schema" default:"exams" enum:"exams,mapped" help:"which tables to write: exams are those that hostd makes, mapped are your own, as tables says"`
	Tables []tableSetting `setting:"tables" help:"with schema mapped: the tables to write, and what goes into their columns; docs/mapping.md explains it"`
	Zone   string         `setting:"zone" help:"with schema mapped: where the clinic's clocks stand, such as +09:00; empty is this computer's own zone"`
	Raw    bool           `setting:"raw" default:"true" help:"with schema exams: keep the source's bytes beside the decoded form"`

	env     sdk.SinkEnv
	ahead   sdk.StoreAhead // env.Store where it is one, or nil
	mapping *mapping       // nil for the tables that hostd makes
}

// Open needs nothing of the database: where it is away, the records wait.
func (s *sink) Open(_ context.Context, env sdk.SinkEnv) error {
	s.env, s.mapping = env, nil
	s.ahead, _ = env.Store.(sdk.StoreAhead) // nil where the host cannot go ahead
	if err := env.Settings.Decode(s); err != nil {
		return err
	}
	m, found := s.check()
	if len(found) > 0 {
		errs := make([]error, len(found))
		for i, f := range found {
			errs[i] = f
		}
		return fmt.Errorf("read settings: %w: %w", sdk.ErrSettings, errors.Join(errs...))
	}
	if s.mapping = m; m != nil {
		s.Raw = m.raw
	}
	return nil
}

// check finds what is wrong with settings that fit their description, and makes the mapping where they have one. It
// needs nothing of the host.
func (s *sink) check() (*mapping, []sdk.SettingFault) {
	if s.Schema == "mapped" {
		return compile(s.Tables, s.Zone)
	}
	var f faults
	if s.Tables != nil {
		f.add("tables", "is for schema: mapped; write that, or leave the key out")
	}
	if s.Zone != "" {
		f.add("zone", "is for schema: mapped; write that, or leave the key out")
	}
	return nil, f.list
}

// Close has nothing to let go.
func (s *sink) Close(context.Context) error { return nil }

// Write stores the batch in one transaction, or in a few where it is large. An error of the database comes back with
// its class; what an earlier transaction stored of the batch is then found again by its receipts.
func (s *sink) Write(ctx context.Context, records []sdk.Record) error {
	d := delivery{sink: s, records: records, refused: sdk.RecordErrors{}, again: map[int]bool{}}
	if err := d.run(ctx); err != nil {
		return err
	}
	if len(d.refused) > 0 {
		return d.refused
	}
	return nil
}

// delivery is one Write on its way.
type delivery struct {
	*sink
	records  []sdk.Record
	next     int              // records before it are stored, refused or being written
	refused  sdk.RecordErrors // for good
	again    map[int]bool     // refused once as new ones, see planRecord
	failures int
	past     history
}

// chunk is one Store.Write.
type chunk struct {
	changes []sdk.Change
	index   []int // of the record of each change
	start   int   // its first record
	end     int   // the first record behind it
	size    int   // bytes on the wire, at most
	touched map[identity]bool
}

// takes says whether r may be stored together with the chunk's other records: not when it amends one of them, or the
// same exam as one of them, for what they store must be seen first.
func (c *chunk) takes(h *history, r *sdk.Record) bool {
	return r.Amends == "" || !c.touched[identity{r.Source, text(r.Amends)}] && !c.touched[identity{r.Source, h.root(r)}]
}

func (c *chunk) add(h *history, i int, r *sdk.Record, p *plan) {
	c.changes = append(c.changes, sdk.Once{Source: r.Source, ID: r.ID, Hash: p.hash, Seq: r.Seq, Changes: p.changes})
	c.index = append(c.index, i)
	c.size += p.size
	if h.asked() {
		c.touched[identity{r.Source, r.ID}] = true
		c.touched[identity{r.Source, h.root(r)}] = true
	}
}

// run plans each chunk while the one before it is written, if nothing in it can rest on that. There is never more than
// one being written, so that records are stored in their order.
func (d *delivery) run(ctx context.Context) error {
	var before *chunk
	var written func() ([]sdk.Changed, error)
	for d.next < len(d.records) || before != nil {
		var c *chunk
		var err error
		if before == nil || !d.past.asked() && d.next < len(d.records) {
			c, err = d.plan(ctx)
		}
		if before != nil {
			again, bad := d.settle(before, written)
			if before = nil; bad != nil {
				return bad
			}
			if again {
				continue
			}
		}
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		if d.next = c.end; len(c.changes) > 0 {
			before, written = c, d.start(ctx, c)
		}
	}
	return nil
}

// start begins to write the chunk.
func (d *delivery) start(ctx context.Context, c *chunk) (done func() ([]sdk.Changed, error)) {
	if d.ahead != nil {
		return d.ahead.Start(ctx, c.changes...)
	}
	answers, err := d.env.Store.Write(ctx, c.changes...)
	return func() ([]sdk.Changed, error) { return answers, err }
}

// settle waits until the chunk is stored, or finds out which of its records to refuse and goes back to where it begins:
// again. An error is one of the whole batch.
func (d *delivery) settle(c *chunk, written func() ([]sdk.Changed, error)) (again bool, err error) {
	done, err := written()
	if err != nil {
		d.next = c.start
		return true, d.blame(c, err)
	}
	if len(done) != len(c.changes) {
		return false, sdk.WithClass(sdk.ClassUnknown, fmt.Errorf("write records: %d answers to %d changes", len(done), len(c.changes)))
	}
	for i, answer := range done {
		if answer.Outcome == sdk.Conflict {
			d.refused[c.index[i]] = sdk.Permanent(errConflict)
		}
	}
	return false, nil
}

// blame finds the record that a permanent error is about. A record has two tries, as in planRecord; only one with a
// mapping would be written in the same way again.
func (d *delivery) blame(c *chunk, err error) error {
	if sdk.ClassOf(err) != sdk.ClassPermanent {
		return err
	}
	at := 0
	var change *sdk.ChangeError
	switch {
	case errors.As(err, &change) && change.Index >= 0 && change.Index < len(c.index):
		at, err = change.Index, change.Err
	case len(c.index) > 1:
		d.failures = maxRefusals // it does not say which: alone they will tell
		return nil
	}
	i := c.index[at]
	if d.failures++; d.again[i] || d.mapping != nil {
		d.refused[i] = sdk.Permanent(fmt.Errorf("write record: %w", err))
	}
	d.again[i] = true
	return nil
}

// most is how many records the next chunk may have.
func (d *delivery) most() int {
	switch {
	case d.failures >= maxRefusals:
		return 1
	case d.ahead == nil || len(d.records) <= aheadRest:
		return len(d.records)
	case d.next == 0:
		return aheadFirst
	default:
		return aheadRest
	}
}

// plan makes the next chunk. It ends where the next record does not fit, or rests on what this chunk is about to store.
func (d *delivery) plan(ctx context.Context) (*chunk, error) {
	if d.mapping == nil {
		if err := d.past.load(ctx, d.env.Store, d); err != nil {
			return nil, err
		}
	}
	most := d.most()
	c := &chunk{start: d.next, end: d.next, touched: map[identity]bool{}}
	for ; c.end < len(d.records) && len(c.changes) < most; c.end++ {
		r := &d.records[c.end]
		if d.refused[c.end] != nil {
			continue
		}
		if !c.takes(&d.past, r) {
			break
		}
		p, err := d.planRecord(ctx, c.end)
		if sdk.ClassOf(err) == sdk.ClassPermanent {
			d.refused[c.end] = err
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(c.changes) > 0 && c.size+p.size > maxChunk {
			break
		}
		c.add(&d.past, c.end, r, p)
	}
	return c, nil
}
