package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Lookup says which records are looked for: those for which every field that is given is true. A zero field is not given.
type Lookup struct {
	ID, Kind, Device string // a device's name, or the one that it goes on under, see RenameDevice
	Patient          string
	From, To         time.Time // received at or after From and before To
	Seq              uint64
	Limit            int // how many are given at most; 0: all
}

// Found is a record and its life. It belongs to the caller.
type Found struct {
	Ref        Ref
	Copy       bool       // put in once more by a replay or a requeue, under a number of its own
	Deliveries []Delivery // one for each sink that it was for
}

// Find goes through the records of the log that q describes, newest first. Only what is on the disk is found, and the
// deliveries are as they were at the first one. An error of one segment is given with an empty Found, and the next segment
// follows; the end of ctx is the last error. ErrDescribe: q needs Options.Describe. Any number may run beside everything
// else; the first after an upgrade or a loss of index files takes the time to read the whole log.
func (s *Spool) Find(ctx context.Context, q Lookup) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		f := &finder{x: &s.index, q: &q, name: s.deviceName, called: s.called, life: s.fates, yield: yield}
		f.run(ctx, s.places())
	}
}

// finder is one search.
type finder struct {
	x      *indexes
	q      *Lookup
	name   func(uint32) string // of a device
	called func(n uint32, name string) bool
	life   func() *fates
	yield  func(Found, error) bool

	id, patient, kind uint64 // hashes of what is looked for; 0: any
	from, to          int64
	deep              bool   // the payload has to be looked at
	buf               []byte // of the table
	fates             *fates // once the first record was found
	below             uint64 // only records with a lower number are still wanted
	given             int
	ended             bool // the caller or the limit ended it
}

func (f *finder) run(ctx context.Context, places []place) {
	q := f.q
	if f.deep = q.ID != "" || q.Kind != "" || q.Patient != ""; f.deep && f.x.describe == nil {
		f.yield(Found{}, fmt.Errorf("find record: %w", ErrDescribe))
		return
	}
	h := f.x.hasher()
	f.id, f.patient, f.kind = h.id([]byte(q.ID)), h.patient([]byte(q.Patient)), h.kind([]byte(q.Kind))
	f.from, f.to, f.below = -1<<63, 1<<63-1, maxSeq
	if !q.From.IsZero() {
		f.from = q.From.UnixNano()
	}
	if !q.To.IsZero() {
		f.to = q.To.UnixNano()
	}
	for i := len(places) - 1; i >= 0 && !f.ended; i-- {
		err := f.segment(ctx, places[i])
		if err == nil || f.ended || errors.Is(err, fs.ErrNotExist) {
			continue // NotExist: settled and deleted meanwhile
		}
		if !f.yield(Found{}, fmt.Errorf("find record: %w", err)) || ctx.Err() != nil {
			return
		}
	}
}

// may says whether anything of the table can be what is looked for.
func (f *finder) may(h *tableHead) bool {
	seq := f.q.Seq
	return h.records > 0 && h.to >= f.from && h.from < f.to && h.first < f.below && (seq == 0 || seq >= h.first && seq <= h.last)
}

// fits says whether the row can be what is looked for.
func (f *finder) fits(r *row) bool {
	switch {
	case f.id != 0 && r.id != f.id, f.patient != 0 && r.patient != f.patient, f.kind != 0 && r.kind != f.kind,
		f.q.Seq != 0 && r.seq != f.q.Seq, r.received < f.from, r.received >= f.to, r.seq >= f.below,
		f.deep && r.flags&rowMute != 0:
		return false
	}
	return f.q.Device == "" || f.called(uint32(r.device), f.q.Device)
}

// segment gives what fits of one segment, by a table that may be old, and by a new one where it does not fit the segment.
func (f *finder) segment(ctx context.Context, p place) error {
	t, err := f.x.table(ctx, p, &f.buf, f.may)
	if err != nil || !f.may(&t.head) {
		return err
	}
	good, err := f.walk(ctx, p, t)
	if good || err != nil {
		return err
	}
	if t, err = f.x.remake(ctx, p); err != nil {
		return err
	}
	_, err = f.walk(ctx, p, t) // what is damaged since is not there
	return err
}

// walk goes through the rows, the last one first; good is false when the segment is not as a row says.
func (f *finder) walk(ctx context.Context, p place, t *table) (good bool, err error) {
	w := frameReader{x: f.x, p: p}
	defer func() { err = errors.Join(err, w.close()) }()
	for at := len(t.rows) - rowSize; at >= 0 && !f.ended; at -= rowSize {
		if at/rowSize%4096 == 0 && ctx.Err() != nil {
			return true, ctx.Err()
		}
		r := loadRow(t.rows[at:])
		if !f.fits(&r) {
			continue
		}
		fr, ok, err := w.at(&r)
		if err != nil || !ok {
			return err != nil, err
		}
		if f.verified(fr.payload) {
			f.give(fr)
		}
	}
	return true, nil
}

// verified holds the payload itself against what is looked for: equal hashes are not enough.
func (f *finder) verified(payload []byte) bool {
	if !f.deep {
		return true
	}
	same := func(want string, got []byte) bool { return want == "" || want == string(got) }
	hit := false
	err := f.x.described(payload, func(d *Description) error {
		hit = same(f.q.ID, d.ID) && same(f.q.Kind, d.Kind) && same(f.q.Patient, d.Patient)
		return nil
	})
	return hit && err == nil
}

func (f *finder) give(fr *frame) {
	if f.fates == nil {
		f.fates = f.life()
	}
	f.below = fr.seq
	found := Found{
		Ref:        Ref{Seq: fr.seq, Device: f.name(fr.num), Received: int64(fr.a), Payload: bytes.Clone(fr.payload)},
		Copy:       fr.flags&flagCopy != 0,
		Deliveries: f.fates.of(fr.seq, SinkSet(fr.b)),
	}
	f.given++
	f.ended = !f.yield(found, nil) || f.given == f.q.Limit
}

// frameReader reads single frames of a segment, which it opens at the first.
type frameReader struct {
	x   *indexes
	p   place
	src file
	c   scanner
}

// at returns the record that the row speaks of; false means that it is not there.
func (w *frameReader) at(r *row) (*frame, bool, error) {
	if w.src == nil {
		src, err := w.x.disk.Open(filepath.Join(w.x.dir, w.p.name), os.O_RDONLY)
		if err != nil {
			return nil, false, fmt.Errorf("open segment: %w", err)
		}
		w.src, w.c = src, scanner{src: src, salt: w.p.salt, master: w.x.master, aead: w.p.aead}
	}
	w.c.at(r.off, min(r.off+headerSize+int64(r.length), w.p.end))
	fr, ok, err := w.c.next()
	if err != nil {
		return nil, false, err
	}
	ok = ok && fr.kind == kindRecord && fr.off == r.off && fr.seq == r.seq && int64(fr.a) == r.received && uint16(fr.num) == r.device
	return &fr, ok, nil
}

func (w *frameReader) close() error {
	if w.src == nil {
		return nil
	}
	return w.src.Close()
}

// Find is Spool.Find on files that nobody may be writing. It makes no index files: where one is missing it reads the segment.
func (i *Inspection) Find(ctx context.Context, q Lookup) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		st, err := i.state()
		if err == nil {
			err = i.s.dead.open(i.s)
		}
		if err != nil {
			yield(Found{}, fmt.Errorf("find record: %w", err))
			return
		}
		life := func() *fates {
			f := &fates{sinks: i.s.sinks}
			i.s.dead.tell(f)
			return f
		}
		f := &finder{
			x: &i.s.index, q: &q, life: life, yield: yield, name: func(n uint32) string { return nameOf(st.devices, n) },
			called: func(n uint32, name string) bool { return called(st.devices, n, name) },
		}
		f.run(ctx, i.places())
	}
}

// state is the newest snapshot and what stands behind it. It becomes the one of the Spool that the Inspection looks through.
func (i *Inspection) state() (*state, error) {
	st, base := &state{next: 1}, 0
	for n, f := range i.files {
		if f.snap != nil {
			base = n
		}
	}
	if len(i.files) == 0 {
		return st, nil
	}
	if snap := i.files[base].snap; snap != nil {
		st, _ = decodeState(snap.next, snap.encode()) // a copy
	}
	for _, f := range i.files[base:] {
		err := i.frames(f, func(fr *frame) bool {
			st.apply(fr.header, fr.payload, true)
			return true
		}, nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	i.s.sinks = nil
	for n := range st.sinks {
		i.s.sinks = append(i.s.sinks, liveSink{name: st.sinks[n].name, cursor: st.sinks[n].cursor})
	}
	i.s.next = st.next
	return st, nil
}

// places are the segments that form the log, oldest first. The last one may be growing.
func (i *Inspection) places() []place {
	var list []place
	var after *found
	for n := len(i.files) - 1; n >= 0; n-- {
		f := i.files[n]
		p := place{segment: f.segment, end: f.size, full: after != nil}
		if after != nil && after.snap != nil {
			if f.num > after.prev {
				continue // never synced
			}
			if f.num == after.prev {
				p.end = min(f.whole, after.prevEnd)
			}
		}
		after = f
		list = append(list, p)
	}
	slices.Reverse(list)
	return list
}
