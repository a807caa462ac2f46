package spool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var termSeeds = flag.Int("term-seeds", 150, "random failing disks to try")

// A group that fails takes with it what gathered behind it and what was sent before the failure, but nothing later.
func TestFailedGroupEndsItsTerm(t *testing.T) {
	d := newMemDisk()
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	answers := map[string]error{}
	send := func(name string, term uint64) error {
		b := batch("d", 0, name)
		b.Term = term
		return s.Append(t.Context(), b, func(err error) { answers[name] = err })
	}
	old := s.Term()
	if err := send("in the group", old); err != nil {
		t.Fatal(err)
	}
	d.fail = func(_ int, op string) error {
		if op != "write" {
			return nil
		}
		d.fail = func(_ int, op string) error {
			if op == "write" {
				return syscall.EIO
			}
			return nil
		}
		for name, term := range map[string]uint64{"behind": old, "behind, without a term": 0} { // while the group is being written
			if err := send(name, term); err != nil {
				t.Error(err)
			}
		}
		return syscall.EIO
	}
	if err := s.commit(false); !errors.Is(err, ErrDisk) {
		t.Fatalf("commit = %v", err)
	}
	d.fail = nil
	if !errors.Is(answers["in the group"], ErrDisk) {
		t.Errorf("in the group: %v", answers["in the group"])
	}
	for _, name := range []string{"behind", "behind, without a term"} {
		if !errors.Is(answers[name], ErrTerm) {
			t.Errorf("%s: %v, want ErrTerm", name, answers[name])
		}
	}
	if err := send("sent before, came after", old); !errors.Is(err, ErrTerm) {
		t.Errorf("batch of the old term: %v, want ErrTerm", err)
	}
	if s.Term() != old+1 {
		t.Errorf("term %d after %d", s.Term(), old)
	}
	for name, term := range map[string]uint64{"new": s.Term(), "new, without a term": 0} {
		if err := send(name, term); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.commit(false); err != nil || answers["new"] != nil || answers["new, without a term"] != nil {
		t.Errorf("commit %v, answers %v", err, answers)
	}
	if _, known := answers["sent before, came after"]; known {
		t.Error("done was called beside an error")
	}
	if st := s.Stats(); st.Records != 2 {
		t.Errorf("%d records stored, want the two of the new term", st.Records)
	}
}

// An Append that waits for room when the term ends is refused as well.
func TestWaitingAppendSeesTheEndOfItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		s, err := Open("data/spool", Options{disk: d.disk(), GroupSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		b := batch("d", 0, "x")
		b.Term = s.Term()
		if err := s.Append(t.Context(), b, func(error) {}); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 2)
		go func() {
			if err := s.Append(t.Context(), b, func(err error) { answer <- err }); err != nil {
				answer <- err
			}
		}()
		synctest.Wait()
		d.fail = func(int, string) error { return syscall.EIO }
		_ = s.commit(false)
		d.fail = nil
		synctest.Wait()
		_ = s.commit(false) // had it come in after the failure, this would store it
		// It came into the next group before the failure, or finds the term over.
		if err := <-answer; !errors.Is(err, ErrTerm) {
			t.Errorf("answer %v, want ErrTerm", err)
		}
		if n := s.Stats().Records; n != 0 || len(answer) != 0 {
			t.Errorf("%d records stored, %d more answers", n, len(answer))
		}
	})
}

// windowDevice sends up to eight batches ahead of its answers, and begins anew at the stored position after a refusal.
type windowDevice struct {
	name    string
	next    int // record of the next batch
	term    uint64
	open    int
	refused bool
	acked   int
	wire    []Batch // sent, and not at the spool yet; a refusal does not call them back
}

func (w *windowDevice) begin(s *Spool) {
	pos, _ := s.Position(w.name)
	w.next, _ = strconv.Atoi(string(pos))
	w.term, w.refused = s.Term(), false
}

// send makes the next batch, whose position says that every record before it is there.
func (w *windowDevice) send(rnd *rand.Rand) {
	if w.refused || w.open == 8 {
		return
	}
	b := Batch{Device: w.name, Term: w.term, HasPosition: true}
	for range 1 + rnd.IntN(3) {
		b.Records = append(b.Records, Entry{Payload: fmt.Appendf(nil, "%s %d", w.name, w.next), Sinks: 1})
		w.next++
	}
	b.Position = strconv.AppendInt(nil, int64(w.next), 10)
	w.open++
	w.wire = append(w.wire, b)
}

// arrive brings the oldest batch to the spool.
func (w *windowDevice) arrive(t *testing.T, s *Spool) {
	if len(w.wire) == 0 {
		return
	}
	b := w.wire[0]
	w.wire = w.wire[1:]
	to, _ := strconv.Atoi(string(b.Position))
	err := s.Append(context.Background(), b, func(err error) {
		w.open--
		switch {
		case err != nil:
			w.refused = true
		case !w.refused:
			w.acked = to
		}
	})
	if err != nil {
		w.open--
		w.refused = true
		if !errors.Is(err, ErrTerm) {
			t.Errorf("Append = %v", err)
		}
	}
}

func TestPositionNeverPassesWhatWasNotStored(t *testing.T) {
	for seed := range uint64(*termSeeds) {
		if err := failingDisk(t, rand.New(rand.NewPCG(seed, 12))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func failingDisk(t *testing.T, rnd *rand.Rand) error {
	d := newMemDisk()
	s, err := Open("data/spool", Options{disk: d.disk(), SegmentSize: 4 << 10})
	if err != nil {
		return err
	}
	if _, err := s.RegisterSink("emr"); err != nil {
		return err
	}
	devices := []*windowDevice{{name: "a"}, {name: "b"}}
	sick := 0
	sending := false // an Append does nothing on the disk, so it cannot come here again
	d.fail = func(_ int, op string) error {
		if !sending {
			sending = true
			if rnd.IntN(2) == 0 { // batches come while a group is on its way to the disk
				devices[rnd.IntN(2)].arrive(t, s)
			}
			sending = false
		}
		if sick--; sick > 0 && op != "read" {
			return []error{syscall.EIO, syscall.ENOSPC}[rnd.IntN(2)]
		}
		return nil
	}
	for _, w := range devices {
		w.begin(s)
	}
	for range 200 {
		if rnd.IntN(15) == 0 {
			sick = 1 + rnd.IntN(12)
		}
		for range rnd.IntN(5) {
			devices[rnd.IntN(2)].send(rnd)
			devices[rnd.IntN(2)].arrive(t, s)
		}
		if rnd.IntN(3) == 0 {
			_ = s.commit(false) // its error is told to each batch
		}
		for _, w := range devices {
			if w.refused && len(w.wire) == 0 { // the stream is at its end
				w.begin(s)
			}
		}
	}
	d.fail = nil
	_ = s.commit(false)
	s.Close()
	return positionsHold(t, d, devices)
}

// positionsHold opens what is on the disk and holds each device's position against its records.
func positionsHold(t *testing.T, d *memDisk, devices []*windowDevice) error {
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		return err
	}
	defer s.Close()
	there := map[string]bool{}
	for _, ref := range drain(t, s, 0) {
		there[string(ref.Payload)] = true
	}
	for _, w := range devices {
		pos, _ := s.Position(w.name)
		n, _ := strconv.Atoi(string(pos))
		if n < w.acked {
			return fmt.Errorf("position of %s is %d, acknowledged %d", w.name, n, w.acked)
		}
		for i := range n {
			if !there[fmt.Sprint(w.name, " ", i)] {
				return fmt.Errorf("position of %s is %d, record %d is not stored", w.name, n, i)
			}
		}
		if w.acked == 0 {
			return fmt.Errorf("%s stored nothing: the test proves nothing", w.name)
		}
	}
	return nil
}

func TestTryNextNeverBlocks(t *testing.T) {
	s := start(t, t.TempDir(), Options{})
	id := s.sink(t, "emr")
	r, err := s.Reader(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if l, err := r.TryNext(10, 1<<20); l != nil || err != nil {
		t.Fatalf("TryNext of an empty spool = %v, %v", l, err)
	}
	if err := s.put(batch("d", 1, "1", "2", "3")); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{{"1", "2"}, {"3"}} {
		l, err := r.TryNext(2, 1<<20)
		if err != nil || l == nil {
			t.Fatalf("TryNext = %v, %v", l, err)
		}
		same(t, payloads(l.Records), want)
		l.Release()
	}
	if l, err := r.TryNext(10, 1<<20); l != nil || err != nil {
		t.Fatalf("TryNext at the end = %v, %v", l, err)
	}
	s.stop()
	if l, err := r.TryNext(10, 1<<20); l != nil || err != nil {
		t.Fatalf("TryNext of a stopped spool = %v, %v", l, err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, "data/spool", Options{disk: newMemDisk().disk()})
		id, other := s.sink(t, "emr"), s.sink(t, "archive")
		r, err := s.Reader(id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ended := make(chan error, 1) // why wait ended; nil when there was a record
		wait := func(ctx context.Context) {
			for { // Wait may return because the log has grown by something else
				if l, err := r.TryNext(10, 1<<20); l != nil || err != nil {
					ended <- err
					return
				}
				if err := r.Wait(ctx); err != nil {
					ended <- err
					return
				}
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		go wait(short)
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Hour {
			t.Fatalf("Wait = %v after %s, want the deadline", err, time.Since(begin))
		}
		go wait(t.Context())
		synctest.Wait()
		if err := s.put(batch("d", SinkSet(0).With(other), "not for us")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("woken by another sink's record: %v", err)
		default:
		}
		if err := s.put(batch("d", SinkSet(0).With(id), "ours")); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if l, err := r.TryNext(10, 1<<20); l != nil || err != nil {
			t.Fatalf("TryNext = %v, %v", l, err)
		}
		if err := s.put(batch("d", SinkSet(0).With(id), "between the look and the wait")); err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l, err := r.TryNext(10, 1<<20); err != nil || l == nil {
			t.Fatalf("TryNext = %v, %v: the record was passed over", l, err)
		}
		go wait(t.Context())
		synctest.Wait()
		s.stop()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Fatalf("Wait of a stopped spool = %v, want ErrClosed", err)
		}
	})
}

// Readers that try and wait get every record of theirs in order, while several devices append and marks are written.
func TestNothingIsMissedByTryNextAndWait(t *testing.T) {
	const devices, each = 4, 300
	s := start(t, t.TempDir(), Options{SegmentSize: 8 << 10, Flush: time.Millisecond})
	ids := []SinkID{s.sink(t, "emr"), s.sink(t, "archive")}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { readAll(t, s.Spool, id, devices, each) })
	}
	for d := range devices {
		all.Go(func() {
			for i := range each {
				set := SinkSet(1 + (i+d)%3) // the one, the other, both
				if err := s.put(batch(fmt.Sprint(d), set, fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func readAll(t *testing.T, s *Spool, id SinkID, devices, each int) {
	r, err := s.Reader(id)
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := make([]int, devices)
	want := 0
	for d := range devices {
		for i := range each {
			if SinkSet(1 + (i+d)%3).Has(id) {
				want++
			}
		}
	}
	for want > 0 {
		l, err := r.TryNext(7, 1<<20)
		if err == nil && l == nil {
			err = r.Wait(ctx)
		}
		if err != nil {
			t.Errorf("sink %d, %d records missing: %v", id, want, err)
			return
		}
		if l == nil {
			continue
		}
		for _, ref := range l.Records {
			d, _ := strconv.Atoi(ref.Device)
			for !SinkSet(1 + (next[d]+d)%3).Has(id) {
				next[d]++
			}
			if string(ref.Payload) != fmt.Sprint(next[d]) {
				t.Errorf("sink %d: record %s of device %d, want %d", id, ref.Payload, d, next[d])
				return
			}
			next[d]++
		}
		want -= len(l.Records)
		if err := s.Settle(id, l.Records[len(l.Records)-1].Seq, len(l.Records), 0); err != nil {
			t.Error(err)
		}
		l.Release()
	}
}
