package spool

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCapRefusesUntilASinkHasTakenMore(t *testing.T) {
	s := start(t, t.TempDir(), Options{SegmentSize: 64 << 10, Cap: 256 << 10})
	defer s.stop()
	id := s.sink(t, "emr")
	one := Batch{Device: "d", Records: []Entry{{Payload: make([]byte, 8<<10), Sinks: 1}}}
	taken := 0
	for {
		err := s.put(one)
		if errors.Is(err, ErrCap) {
			break
		}
		if err != nil || taken > 100 {
			t.Fatalf("after %d records: %v", taken, err)
		}
		taken++
	}
	if st := s.Stats(); st.Bytes > 256<<10 || taken < 25 {
		t.Fatalf("%d records, %d bytes", taken, st.Bytes)
	}
	refs := drain(t, s.Spool, id)
	if len(refs) != taken {
		t.Fatalf("%d records of %d", len(refs), taken)
	}
	if err := s.Settle(id, refs[len(refs)-1].Seq, len(refs), 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		err := s.put(one)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrCap) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Other limits hold for the next batches and groups: a higher cap lets records in, smaller segments are more of them, and what
// is kept no longer goes.
func TestSetLimits(t *testing.T) {
	s := start(t, t.TempDir(), Options{SegmentSize: 64 << 10, Cap: 256 << 10, Keep: time.Hour})
	defer s.stop()
	id := s.sink(t, "emr")
	one := Batch{Device: "d", Records: []Entry{{Payload: make([]byte, 8<<10), Sinks: 1}}}
	fill := func() (taken int, err error) {
		for err == nil && taken < 100 {
			if err = s.put(one); err == nil {
				taken++
			}
		}
		return taken, err
	}
	if n, err := fill(); !errors.Is(err, ErrCap) {
		t.Fatalf("after %d records: %v", n, err)
	}
	s.SetLimits(Options{SegmentSize: 64 << 10, Cap: 512 << 10, Keep: time.Hour})
	before := s.Stats().Bytes
	if n, err := fill(); !errors.Is(err, ErrCap) || n < 25 {
		t.Fatalf("%d more records with twice the cap: %v", n, err)
	}
	refs := drain(t, s.Spool, id)
	if err := s.Settle(id, refs[len(refs)-1].Seq, len(refs), 0); err != nil {
		t.Fatal(err)
	}
	s.SetLimits(Options{SegmentSize: 16 << 10, Keep: time.Hour}) // without a cap
	segments := func() int { list, _ := os.ReadDir(s.dir); return len(list) }
	had := segments()
	one.Records[0].Sinks = 0
	for range 20 {
		if err := s.put(one); err != nil {
			t.Fatal(err)
		}
	}
	if more := segments() - had; more < 10 {
		t.Errorf("%d more segments for 20 records that fill half of one", more)
	}
	if now := s.Stats().Bytes; now <= before {
		t.Errorf("%d bytes, %d before: what is to be kept is gone", now, before)
	}
	s.SetLimits(Options{SegmentSize: 16 << 10})
	if err := s.put(one); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); s.Stats().Bytes > 64<<10; {
		if time.Now().After(end) {
			t.Fatalf("%d bytes of what is not to be kept", s.Stats().Bytes)
		}
		time.Sleep(time.Millisecond) // pruned after the answer
	}
}

// A full disk refuses records, lets cursors and dead letters be written, and takes records again by itself.
func TestReserveKeepsRoomForCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		const room = 1 << 20
		full := false
		used := func() (n int) {
			for _, f := range d.names {
				n += len(f.data)
			}
			return n
		}
		ballast := 0
		d.fail = func(_ int, op string) error {
			if full = used()+ballast > room; full && op == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		s := start(t, "data/spool", Options{disk: d.disk(), Reserve: 256 << 10})
		defer s.stop()
		id := s.sink(t, "emr")
		for range 3 {
			if err := s.put(batch("d", 1, "one", "two")); err != nil {
				t.Fatal(err)
			}
		}
		d.mu.Lock()
		ballast = room
		d.mu.Unlock()
		if err := s.put(batch("d", 1, "three")); !errors.Is(err, ErrFull) {
			t.Fatalf("err %v, want ErrFull", err)
		}
		d.mu.Lock()
		ballast = room - 300<<10 // what the reserve gave back
		d.mu.Unlock()
		synctest.Wait() // the refusal is told before the reserve is given away
		if _, err := d.disk().dirs.Size("data/spool/reserve"); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the reserve is still there: %v", err)
		}
		if err := s.put(batch("d", 1, "three")); !errors.Is(err, ErrFull) {
			t.Fatalf("err %v, want ErrFull while the reserve is spent", err)
		}
		refs := drain(t, s.Spool, id)
		if err := s.Dead(t.Context(), id, refs[0], "why", 1); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(id, refs[3].Seq, 4, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // of the bubble's clock
		after, err := Open("data/spool", Options{disk: d.crash(nil, true).disk()})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(drain(t, after, id)); n != 2 {
			t.Fatalf("%d records wait on the disk, want 2: the cursor was not written", n)
		}
		d.mu.Lock()
		ballast = 0
		d.mu.Unlock()
		time.Sleep(5 * time.Second) // of the bubble's clock
		if err := s.put(batch("d", 1, "three")); err != nil {
			t.Fatalf("intake does not go on: %v", err)
		}
	})
}

// A dead letter that meets the full disk first, and finds no room even in the reserve, does not keep records out for ever.
func TestRoomIsLookedForAfterADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		s := start(t, "data/spool", Options{disk: d.disk(), Reserve: 4 << 10})
		defer s.stop()
		id := s.sink(t, "emr")
		if err := s.put(batch("d", 1, "one")); err != nil {
			t.Fatal(err)
		}
		refs := drain(t, s.Spool, id)
		time.Sleep(time.Minute) // of the bubble's clock: Run has nothing more to do
		d.mu.Lock()
		d.fail = func(_ int, op string) error {
			if op == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		d.mu.Unlock()
		if err := s.Dead(t.Context(), id, refs[0], "why", 1); !errors.Is(err, ErrFull) {
			t.Fatalf("err %v, want ErrFull", err)
		}
		room := s.Room()
		if err := s.put(batch("d", 1, "two")); room == nil || !errors.Is(err, ErrFull) {
			t.Fatalf("err %v, want ErrFull while the reserve is spent", err)
		}
		d.mu.Lock()
		d.fail = nil
		d.mu.Unlock()
		began := time.Now()
		select {
		case <-room:
		case <-time.After(time.Minute): // of the bubble's clock
		}
		if took := time.Since(began); took > retryLow {
			t.Errorf("the room is found after %s", took)
		}
		if err := s.put(batch("d", 1, "two")); err != nil || s.Room() != nil {
			t.Fatalf("intake does not go on: %v", err)
		}
	})
}

func TestReplayGivesWhatIsChosenOnceMore(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{SegmentSize: 4 << 10, Keep: time.Hour})
	a := s.sink(t, "emr")
	b := s.sink(t, "archive")
	for i := range 20 {
		if err := s.put(batch("ark-1", 1, fmt.Sprint("a", i))); err != nil {
			t.Fatal(err)
		}
		if err := s.put(batch("lab", 1, fmt.Sprint("l", i))); err != nil {
			t.Fatal(err)
		}
	}
	refs := drain(t, s.Spool, a)
	if err := s.Settle(a, refs[29].Seq, 30, 0); err != nil {
		t.Fatal(err)
	}
	pick := Pick{Device: "lab", Match: func(_ string, p []byte) bool { return p[len(p)-1]%2 == 0 }}
	n, err := s.Replay(t.Context(), a, pick, true)
	if err != nil || n != 8 { // l0 to l14, even ends: 0 2 4 6 8 10 12 14; the rest still waits
		t.Fatalf("dry: %d, %v", n, err)
	}
	if len(drain(t, s.Spool, a)) != 10 {
		t.Fatal("a dry run has put something in")
	}
	for range 2 { // copies are not copied
		if n, err = s.Replay(t.Context(), a, pick, false); err != nil || n != 8 {
			t.Fatalf("%d, %v", n, err)
		}
	}
	got := drain(t, s.Spool, a)
	if len(got) != 10+16 || string(got[10].Payload) != "l0" || got[10].Device != "lab" || got[10].Received != refs[1].Received {
		t.Fatalf("%d records, %+v", len(got), got[10])
	}
	if len(drain(t, s.Spool, b)) != 0 {
		t.Fatal("the other sink got something")
	}
	st := s.Stats()
	if st.Records != 40 || st.Sinks[a].Appended != 40+16 || st.Sinks[a].Backlog != 26 {
		t.Fatalf("stats %+v", st)
	}
	if n, err = s.Replay(t.Context(), b, Pick{}, false); err != nil || n != 40 {
		t.Fatalf("all for a new sink: %d, %v", n, err)
	}
	if n, err = s.Replay(t.Context(), b, Pick{From: time.Now()}, true); err != nil || n != 0 {
		t.Fatalf("nothing is from now on: %d, %v", n, err)
	}
	s.stop()
	s = start(t, dir, Options{})
	if n := len(drain(t, s.Spool, b)); n != 40 {
		t.Fatalf("after a restart %d wait", n)
	}
	s.stop()
}

func TestDeadLettersAreRequeuedAndDropped(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	a := s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, "one", "two", "three")); err != nil {
		t.Fatal(err)
	}
	for _, ref := range drain(t, s.Spool, a) {
		if err := s.Dead(t.Context(), a, ref, "no column", 1); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(a, ref.Seq, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	var all []*DeadLetter
	for l, err := range s.DeadLetters("emr") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	for range 2 { // the second time it is done already
		if err := s.Requeue(t.Context(), all[0]); err != nil {
			t.Fatal(err)
		}
		if err := s.Drop(all[2], "a test record"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`emr 2 ark-1 "no column" 1 two`}
	check := func() {
		t.Helper()
		same(t, letters(t, s.Spool, "emr"), want)
		same(t, payloads(drain(t, s.Spool, a)), []string{"one"})
		if k := s.Stats().Sinks[a]; k.Appended != 4 || k.Dead != 1 || k.Closed != 2 || k.Delivered != 0 || k.Backlog != 1 {
			t.Fatalf("%+v", k)
		}
	}
	check()
	s.stop()
	s = start(t, dir, Options{})
	check()
	refs := drain(t, s.Spool, a)
	if err := s.Dead(t.Context(), a, refs[0], "still no column", 1); err != nil { // given up once more: a letter of its own
		t.Fatal(err)
	}
	if len(letters(t, s.Spool, "emr")) != 2 {
		t.Fatal("the second letter of the record is not there")
	}
	s.stop()
}

func TestForgottenSinkHoldsNothing(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{SegmentSize: 4 << 10})
	a, b := s.sink(t, "emr"), s.sink(t, "old")
	for i := range 40 {
		if err := s.put(batch("ark-1", SinkSet(0).With(a).With(b), fmt.Sprintf("%0200d", i))); err != nil {
			t.Fatal(err)
		}
	}
	refs := drain(t, s.Spool, a)
	if err := s.Dead(t.Context(), b, refs[0], "no column", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(a, refs[39].Seq, 40, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ForgetSink(t.Context(), "old"); n != 40 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := s.ForgetSink(t.Context(), "old"); !errors.Is(err, ErrUnknownSink) {
		t.Fatalf("err %v", err)
	}
	check := func() {
		t.Helper()
		st := s.Stats()
		if len(st.Sinks) != 1 || st.Sinks[0].Name != "emr" || len(letters(t, s.Spool, "old")) != 1 {
			t.Fatalf("%+v", st.Sinks)
		}
	}
	check()
	s.stop()
	s = start(t, dir, Options{SegmentSize: 4 << 10})
	defer s.stop()
	check()
	c := s.sink(t, "old")
	if c == a || c == b || len(drain(t, s.Spool, c)) != 0 {
		t.Fatal("a sink of the same name is not a new one")
	}
	for range 3 { // groups, after which segments are deleted
		if err := s.put(batch("ark-1", 0, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n > 3 {
		t.Fatalf("%d segments are held", n)
	}
}

// A segment that somebody deletes while it is open is noticed, and what comes then is in a file with a name.
func TestDeletedSegmentIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		s := start(t, "data/spool", Options{disk: d.disk()})
		s.sink(t, "emr")
		if err := s.put(batch("d", 1, "one")); err != nil {
			t.Fatal(err)
		}
		path := s.path(s.newest())
		d.mu.Lock()
		delete(d.names, path)
		d.mu.Unlock()
		time.Sleep(2 * lookEvery) // of the bubble's clock
		if err := s.put(batch("d", 1, "two")); err != nil {
			t.Fatal(err)
		}
		if now := s.path(s.newest()); now == path {
			t.Fatal("it writes on into a file without a name")
		}
		s.stop()
		after, err := Open("data/spool", Options{disk: d.disk()})
		if err != nil {
			t.Fatal(err)
		}
		defer after.Close()
		if after.Stats().Records != 2 { // counted, and the first is gone
			t.Fatalf("%+v", after.Stats())
		}
	})
}
