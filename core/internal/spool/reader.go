package spool

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Ref is a record as a sink gets it.
type Ref struct {
	Seq      uint64 // its number in the spool, growing, with gaps
	Device   string // name
	Received int64  // when it was put on the disk, unix nanoseconds
	Payload  []byte // good until Lease.Release
}

// Lease is a batch of records in the order of the spool. It may be settled before or after its Release.
type Lease struct {
	Records []Ref
	buf     []byte
	ends    []int      // of the payloads in buf
	pool    *sync.Pool // where Release puts it
}

// maxPooled is the size of buffer that is kept for the next lease.
const maxPooled = 4 << 20

// lease returns an empty lease, with the memory of a released one where there is one.
func (s *Spool) lease() *Lease {
	if l, ok := s.leases.Get().(*Lease); ok {
		return l
	}
	return &Lease{pool: &s.leases}
}

// Release gives the memory of the payloads back; the lease must not be used afterwards. Called once, or not at all.
func (l *Lease) Release() {
	if cap(l.buf) > maxPooled {
		return
	}
	clear(l.Records)
	l.Records, l.buf, l.ends = l.Records[:0], l.buf[:0], l.ends[:0]
	l.pool.Put(l)
}

// add notes a record whose payload is at the end of buf.
func (l *Lease) add(f *frame, device string) {
	l.ends = append(l.ends, len(l.buf))
	l.Records = append(l.Records, Ref{Seq: f.seq, Device: device, Received: int64(f.a)})
}

// finish points the records at their payloads, once buf has its final place.
func (l *Lease) finish() {
	from := 0
	for i, to := range l.ends {
		l.Records[i].Payload = l.buf[from:to:to]
		from = to
	}
}

// Reader gives one sink its records in order. It is used by one goroutine at a time.
type Reader struct {
	s     *Spool
	id    SinkID
	want  func(f *frame) bool // chooses the records; nil: those for the sink
	seg   *segment            // nil before the first
	src   file
	scan  scanner
	after uint64   // records up to here are leased or not wanted
	given uint64   // seq of the newest record that was leased, or the cursor it began behind
	names []string // of devices, by number
	marks []mark   // where leases began, oldest first
	fails int      // readings that failed in a row at one place
}

// mark is a place in the log: the first record wanted there has a seq above after.
type mark struct {
	after uint64
	seg   *segment
	off   int64
}

// maxMarks is how many places a Reader remembers for Rewind.
const maxMarks = 64

// waiter is a Reader at the end of the log; ready is closed when a group behind it has something for its sink.
type waiter struct {
	ready chan struct{}
	given uint64 // behind this one the log has nothing for the sink
	seg   *segment
	off   int64
}

// Reader returns a reader that begins behind the sink's cursor. Any number may exist; the caller closes each.
func (s *Spool) Reader(id SinkID) (*Reader, error) {
	r := &Reader{s: s, id: id}
	if err := r.Rewind(); err != nil {
		return nil, err
	}
	return r, nil
}

// Rewind goes back to the sink's cursor: what was leased and not settled comes once more.
func (r *Reader) Rewind() error {
	cursor, err := r.s.cursor(r.id)
	if err != nil {
		return err
	}
	r.after, r.given, r.fails = cursor, cursor, 0
	for i := len(r.marks) - 1; i >= 0; i-- {
		if m := r.marks[i]; m.after <= cursor {
			if r.marks = r.marks[:i]; r.jump(m.seg, m.off) == nil {
				return nil
			}
			break // the segment is settled and deleted
		}
	}
	r.marks = r.marks[:0]
	r.drop()
	return nil
}

func (s *Spool) cursor(id SinkID) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) >= len(s.sinks) {
		return 0, fmt.Errorf("read spool: %w", ErrUnknownSink)
	}
	return s.sinks[id].cursor, nil
}

// Close gives back the file. The Reader may be used again after Rewind.
func (r *Reader) Close() error {
	r.drop()
	return nil
}

func (r *Reader) drop() {
	if r.src != nil {
		if err := r.src.Close(); err != nil {
			r.s.log.Debug("segment not closed", "err", err)
		}
	}
	r.src, r.seg = nil, nil
}

// Next leases the next records for the sink: at most maxRecords, and maxBytes of payload unless the first alone is
// larger. It blocks until there is one at least, ctx ends, or the spool stops (ErrClosed). Records come in the order of
// the spool and only when they are synced. After an error of reading (ErrDisk) it may be called again: it goes on
// where it was, and takes a place that fails 5 times in a row as damaged.
func (r *Reader) Next(ctx context.Context, maxRecords, maxBytes int) (*Lease, error) {
	for {
		l, err := r.TryNext(maxRecords, maxBytes)
		if l != nil || err != nil {
			return l, err
		}
		if err := r.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// TryNext is Next without waiting: nil and no error mean that nothing is there now.
func (r *Reader) TryNext(maxRecords, maxBytes int) (*Lease, error) {
	l := r.s.lease()
	start := mark{after: r.after, seg: r.seg, off: r.scan.off}
	err := r.fill(l, max(maxRecords, 1), maxBytes)
	if len(l.Records) > 0 {
		r.remember(start)
		l.finish()
		return l, nil // an error comes again at its place
	}
	l.Release()
	return nil, err
}

func (r *Reader) remember(m mark) {
	if m.seg == nil {
		return
	}
	if len(r.marks) == maxMarks {
		r.marks = slices.Delete(r.marks, 0, maxMarks/2)
	}
	r.marks = append(r.marks, m)
}

// fill adds records to l until it is full or the synced log ends.
func (r *Reader) fill(l *Lease, maxRecords, maxBytes int) error {
	for len(l.Records) < maxRecords {
		f, ok, err := r.scan.next()
		if err != nil {
			return r.failed(err)
		}
		if !ok {
			more, err := r.advance()
			if err != nil || !more {
				return err
			}
			continue
		}
		r.fails, r.scan.stubborn = 0, false
		if f.kind != kindRecord || f.seq <= r.after {
			continue
		}
		if r.wants(&f) {
			if len(l.Records) > 0 && len(l.buf)+len(f.payload) > maxBytes {
				r.scan.off = f.off
				return nil
			}
			var good bool
			if l.buf, good = r.scan.open(l.buf, &f); good {
				l.add(&f, r.device(f.num))
				r.given = f.seq
			} else if r.scan.off == f.off {
				continue
			}
			r.doubted(&f, good)
		}
		r.after = f.seq
	}
	return nil
}

// doubted tells of a record that was read wrong at the first look.
func (r *Reader) doubted(f *frame, good bool) {
	if r.scan.doubted != f.off {
		return
	}
	r.scan.doubted = -1
	if good {
		r.s.log.Warn("segment read differently at the second look", "segment", r.seg.name, "offset", f.off)
	}
}

func (r *Reader) wants(f *frame) bool {
	if r.want != nil {
		return r.want(f)
	}
	return f.b>>r.id&1 == 1
}

// failed counts an error of reading; after the last of a series the place is read stubbornly.
func (r *Reader) failed(err error) error {
	if r.fails++; r.fails >= maxFails {
		r.s.log.Error("part of a segment is unreadable and left out", "segment", r.seg.name, "offset", r.scan.off, "err", err)
		r.scan.stubborn = true
	}
	return err
}

func (r *Reader) device(n uint32) string {
	for int(n) >= len(r.names) {
		r.names = append(r.names, "")
	}
	if r.names[n] == "" {
		r.names[n] = r.s.deviceName(n)
	}
	return r.names[n]
}

// advance looks for what lies behind the place of the scanner: more of the segment, or the next one.
func (r *Reader) advance() (bool, error) {
	seg, end := r.s.following(r.seg, r.scan.off, r.after)
	if seg == nil {
		return false, nil
	}
	if seg == r.seg {
		r.scan.end = end
		return true, nil
	}
	if err := r.jump(seg, 0); err != nil {
		return false, r.missing(seg, err)
	}
	return true, nil
}

// missing counts a segment that cannot be opened; in the end it is passed over.
func (r *Reader) missing(seg *segment, err error) error {
	if r.fails++; r.fails >= maxFails {
		r.fails = 0
		r.s.log.Error("segment cannot be opened and is left out", "segment", seg.name, "err", err)
		r.drop()
		r.seg, r.scan = seg, scanner{off: 1 << 62}
	}
	return err
}

// following returns the segment to read from a place, with the end of its synced bytes, or nil at the end of the log.
func (s *Spool) following(seg *segment, off int64, after uint64) (*segment, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, g := range s.segments {
		newest := i == len(s.segments)-1
		switch {
		case seg == nil && !newest && g.last <= after, seg != nil && g.num < seg.num:
		case seg != nil && g.num == seg.num && off >= g.end:
		default:
			return g, g.end
		}
	}
	return nil, 0
}

// jump opens the segment where it is not open, and goes to off.
func (r *Reader) jump(seg *segment, off int64) error {
	if seg != r.seg || r.src == nil {
		r.drop()
		src, err := r.s.disk.Open(r.s.path(seg), os.O_RDONLY)
		if err != nil {
			return fmt.Errorf("open segment: %w: %w", ErrDisk, err)
		}
		r.src, r.seg = src, seg
		r.scan = scanner{src: src, salt: seg.salt, master: r.s.opt.Key, aead: seg.aead, synced: true, doubted: -1, late: r.want == nil, buf: r.scan.buf[:0], plain: r.scan.plain, bound: r.scan.bound}
		r.scan.bad = func(b span) { r.s.bad.take(src, seg.name, b) }
	}
	r.scan.at(off, r.s.end(seg))
	return nil
}

func (s *Spool) end(seg *segment) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return seg.end
}

// Wait blocks until a group with something for the sink was synced, unless the log has grown since TryNext found nothing;
// ctx ends; or the spool stops (ErrClosed).
func (r *Reader) Wait(ctx context.Context) error {
	w, err := r.s.await(r)
	if w == nil {
		return err
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
		r.s.leave(r.id, w)
		return ctx.Err()
	}
	if w.seg == nil {
		return ErrClosed
	}
	return r.jump(w.seg, w.off)
}

// await enters the reader as waiting, or returns nil where the log has grown since it looked.
func (s *Spool) await(r *Reader) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, ErrClosed
	}
	if n := len(s.segments); n > 0 {
		if g := s.segments[n-1]; r.seg == nil || r.seg.num < g.num || r.scan.off < g.end {
			return nil, nil
		}
	}
	w := &waiter{ready: make(chan struct{}), given: r.given}
	s.waiters[r.id] = append(s.waiters[r.id], w)
	s.caughtUp(r.id)
	return w, nil
}

// caughtUp moves the cursor of a sink to the end of the log once a reader waits there and all that it gave is settled: what the
// sink was still taken to wait for was lost to damage. Called with mu held.
func (s *Spool) caughtUp(id SinkID) {
	if int(id) >= len(s.state.sinks) {
		return // nothing was ever for it
	}
	live, known := &s.sinks[id], &s.state.sinks[id]
	for _, w := range s.waiters[id] {
		if live.cursor >= w.given && live.cursor < known.last {
			live.cursor, live.lost = s.state.next-1, known.appended-live.settled
			s.remind()
			return
		}
	}
}

func (s *Spool) leave(id SinkID, w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters[id] = slices.DeleteFunc(s.waiters[id], func(o *waiter) bool { return o == w })
}
