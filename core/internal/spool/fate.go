package spool

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// What became of a record for a sink.
const (
	StateDelivered = "delivered" // settled, and never a dead letter
	StateWaiting   = "waiting"   // its turn is still to come
	StateDead      = "dead"      // an open dead letter
	StateHeld      = "held"      // held back, see Hold
	StateReplaced  = "replaced"  // was held back until another record took its place
	StateRequeued  = "requeued"  // a dead letter that was put in again: as a copy with a number of its own
	StateDropped   = "dropped"   // a dead letter that an operator has closed for good
	StateSettled   = "settled"   // delivered, or a closed dead letter whose file is deleted: nobody knows any more
)

// Delivery is what became of a record for one sink.
type Delivery struct {
	Sink     string
	State    string    // one of the constants
	Reason   string    // of a letter, behind it in brackets why it was dropped; empty where that is not known any more
	Attempts int       // of a letter
	Died     time.Time // of a letter
}

// seqs is a range of record numbers, both ends in it.
type seqs struct{ from, to uint64 }

func (r seqs) has(seq uint64) bool { return seq >= r.from && seq <= r.to }

// widen adds a range to the one of the sink.
func widen(m map[string]seqs, sink string, r seqs) {
	if have, ok := m[sink]; ok {
		r = seqs{min(have.from, r.from), max(have.to, r.to)}
	}
	m[sink] = r
}

type letterKey struct {
	sink string
	seq  uint64
}

// fates tells what became of records, as it was at one moment.
type fates struct {
	sinks   []liveSink
	letters map[letterKey]Delivery
	gone    map[string]seqs // letters that nobody knows any more; under "" those of any sink
	unsure  bool            // a letter may be where the files could not be read
}

func (s *Spool) fates() *fates {
	f := &fates{sinks: s.liveSinks()} // cursors before letters: what is settled by now has its letter by now
	s.dead.tell(f)
	return f
}

func (s *Spool) liveSinks() []liveSink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sinks)
}

// tell reads all letters into f, about 150 bytes of memory for each; reasons are kept once.
func (d *deadLog) tell(f *fates) {
	f.letters = map[letterKey]Delivery{}
	reasons := map[string]string{}
	for _, file := range d.list() {
		whole, err := d.scan(file, func(fr *frame) bool {
			if l, ok := decodeDead(fr); ok {
				f.died(l, reasons)
			} else if c, ok := decodeClosed(fr); ok {
				f.closed(&c)
			}
			return true
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			d.log.Error("dead letters not readable", "file", file.name, "err", err)
			whole = false
		}
		f.unsure = f.unsure || !whole && !errors.Is(err, os.ErrNotExist)
	}
	f.gone = d.goneRanges() // after the files: what was deleted meanwhile is in it
}

func (d *deadLog) goneRanges() map[string]seqs {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.gone)
}

func (f *fates) died(l *DeadLetter, reasons map[string]string) {
	reason, ok := reasons[l.Reason]
	if !ok {
		reason, reasons[l.Reason] = l.Reason, l.Reason
	}
	state := StateDead
	if l.Held {
		state = StateHeld
	}
	f.letters[letterKey{l.Sink, l.Seq}] = Delivery{Sink: l.Sink, State: state, Reason: reason, Attempts: l.Attempts, Died: l.Died}
}

func (f *fates) closed(c *closedLetter) {
	k := letterKey{c.sink, c.seq}
	d, ok := f.letters[k]
	if ok && d.Died.UnixNano() != c.died {
		return // of an earlier letter
	}
	d.Sink, d.State, d.Died = c.sink, c.how, unixTime(c.died)
	if c.why != "" && ok {
		d.Reason += " (" + c.why + ")"
	} else if c.why != "" {
		d.Reason = "(" + c.why + ")"
	}
	f.letters[k] = d
}

// of lists the deliveries of a record.
func (f *fates) of(seq uint64, set SinkSet) []Delivery {
	var list []Delivery
	for id := SinkID(0); id < maxSinks; id++ {
		if set.Has(id) {
			list = append(list, f.one(id, seq))
		}
	}
	return list
}

func (f *fates) one(id SinkID, seq uint64) Delivery {
	d := Delivery{Sink: fmt.Sprintf("sink-%d", id), State: StateWaiting}
	if int(id) >= len(f.sinks) {
		return d // the disk does not know the sink yet
	}
	k := &f.sinks[id]
	if k.name != "" {
		d.Sink = k.name
	}
	if known, ok := f.letters[letterKey{d.Sink, seq}]; ok {
		return known
	}
	switch {
	case seq > k.cursor:
	case f.unsure, f.gone[d.Sink].has(seq), f.gone[""].has(seq):
		d.State = StateSettled
	default:
		d.State = StateDelivered
	}
	return d
}

// markGone notes durably which letters the oldest file holds, before it is deleted. Called with mu held.
func (d *deadLog) markGone() error {
	for sink, r := range d.files[0].held {
		widen(d.gone, sink, r)
	}
	var buf []byte
	for _, sink := range slices.Sorted(maps.Keys(d.gone)) {
		r := d.gone[sink]
		buf = appendFrame(buf, header{kind: kindGone, seq: r.to, a: r.from}, []byte(sink))
	}
	if len(buf) == 0 {
		return nil
	}
	return d.append(buf)
}

func decodeGone(f *frame) (sink string, r seqs, ok bool) {
	return string(f.payload), seqs{from: f.a, to: f.seq}, f.kind == kindGone
}
