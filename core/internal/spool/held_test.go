package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// held gives what is held back from emr.
func held(t testing.TB, s *Spool) []string {
	t.Helper()
	out := []string{}
	for l, err := range s.Held("emr") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %s %s", l.Seq, l.Reason, l.Payload))
	}
	return out
}

// hold puts records aside and settles them.
func (r *running) hold(t testing.TB, id SinkID, refs ...Ref) {
	t.Helper()
	err := r.Hold(t.Context(), id, refs, "no patient")
	if err == nil {
		err = r.Settle(id, refs[len(refs)-1].Seq, len(refs), len(refs))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What is held back outlives its segments and restarts, is counted apart from dead letters, and nothing waits for it.
func TestHeldRecordsOutliveTheirSegments(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{SegmentSize: 4 << 10})
	id := s.sink(t, "emr")
	before := time.Now()
	if err := s.put(batch("ark-1", 1, "one", "two", "three")); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, id)
	s.hold(t, id, refs[0], refs[1])
	if err := s.Dead(t.Context(), id, refs[2], "no column", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(id, refs[2].Seq, 1, 1); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := s.put(batch("ark-1", 0, strings.Repeat("x", 2<<10))); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		same(t, held(t, s.Spool), []string{"1 no patient one", "2 no patient two"})
		same(t, letters(t, s.Spool, "emr"), []string{`emr 3 ark-1 "no column" 1 three`})
		k := s.Stats().Sinks[id]
		if k.Held != 2 || k.Dead != 1 || k.Delivered+k.Closed+k.Backlog != 0 || k.HeldSince.Before(before.Add(-time.Second)) || k.HeldSince.After(time.Now()) {
			t.Fatalf("%+v", k)
		}
	}
	check()
	if st := s.Stats(); st.Segments > 3 || st.Letters == 0 {
		t.Fatalf("%d segments stay for what is held, letters have %d bytes", st.Segments, st.Letters)
	}
	s.stop()
	s = start(t, dir, Options{SegmentSize: 4 << 10})
	check()
	if err := s.Hold(t.Context(), id, []Ref{refs[0]}, "again"); err != nil { // settled before: another record with its number
		t.Fatal(err)
	}
	if n := s.Stats().Sinks[id].Held; n != 3 {
		t.Fatalf("%d are held", n)
	}
}

// The host was killed between the letter and the settle mark: the records come again, and no second letter is made.
func TestHeldOnceAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	id := s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, "one", "two")); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, id)
	if err := s.Hold(t.Context(), id, refs[:1], "no patient"); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s = start(t, dir, Options{})
	s.hold(t, id, drain(t, s.Spool, id)...)
	same(t, held(t, s.Spool), []string{"1 no patient one", "2 no patient two"})
	if k := s.Stats().Sinks[id]; k.Held != 2 || k.Appended != 2 || k.Backlog+k.Closed != 0 {
		t.Fatalf("%+v", k)
	}
}

// What the host makes counts as the device's, and is no sign of life of it.
func TestOwnRecordIsNoSignOfLife(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	if err := s.put(batch("ark-1", 0, "one")); err != nil {
		t.Fatal(err)
	}
	latest := s.Stats().Devices[0].Latest
	if err := s.put(Batch{Device: "ark-1", Records: []Entry{{Payload: []byte("two"), Own: true}}}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if d := s.Stats().Devices[0]; d.Records != 2 || !d.Latest.Equal(latest) {
			t.Errorf("%+v, the device's own is of %s", d, latest)
		}
	}
	check()
	s.stop()
	s = start(t, dir, Options{})
	check()
}

func TestReleaseGivesAllInOrder(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	id := s.sink(t, "emr")
	big := strings.Repeat("x", copyBytes/3)
	for i := range 5 {
		b := Batch{Device: []string{"ark-1", "lab"}[i%2], Records: []Entry{{Payload: []byte(fmt.Sprint(i) + big), Sinks: 1}}}
		if err := s.put(b); err != nil {
			t.Fatal(err)
		}
	}
	refs := drain(t, s.Spool, id)
	s.hold(t, id, refs...)
	s.stop()
	s = start(t, dir, Options{})
	for i, want := range []int{5, 0} {
		if n, err := s.Release(t.Context(), id); n != want || err != nil {
			t.Fatalf("release %d: %d, %v", i, n, err)
		}
	}
	got := drain(t, s.Spool, id)
	for i := range got {
		if string(got[i].Payload) != fmt.Sprint(i)+big || got[i].Received != refs[i].Received || got[i].Device != refs[i].Device {
			t.Errorf("record %d: %q of %s", i, got[i].Payload[:1], got[i].Device)
		}
	}
	for f, err := range s.Find(t.Context(), Lookup{Seq: refs[0].Seq}) {
		if err != nil || f.Deliveries[0].State != StateRequeued {
			t.Errorf("a record that is held no more is %+v, %v", f.Deliveries, err)
		}
	}
	if k := s.Stats().Sinks[id]; len(got) != 5 || k.Held != 0 || !k.HeldSince.IsZero() || k.Closed != 5 || k.Backlog != 5 {
		t.Fatalf("%d records, %+v", len(got), k)
	}
}

// The life of a held record is told by Find, and what replaced one closes it, once, over a restart.
func TestReplacedRecordIsHeldNoMore(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	id := s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, "one", "two")); err != nil {
		t.Fatal(err)
	}
	s.hold(t, id, drain(t, s.Spool, id)...)
	for range 2 {
		if err := s.Replace(id, func(l *DeadLetter) bool { return string(l.Payload) == "one" }); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		same(t, held(t, s.Spool), []string{"2 no patient two"})
		for seq, want := range map[uint64]string{1: StateReplaced, 2: StateHeld} {
			for f, err := range s.Find(t.Context(), Lookup{Seq: seq}) {
				if err != nil || len(f.Deliveries) != 1 || f.Deliveries[0].State != want {
					t.Errorf("record %d: %+v, %v", seq, f.Deliveries, err)
				}
			}
		}
		if k := s.Stats().Sinks[id]; k.Held != 1 || k.Closed != 1 {
			t.Fatalf("%+v", k)
		}
	}
	check()
	s.stop()
	s = start(t, dir, Options{})
	check()
}

// All of a batch is held, or nothing of it is and the call says so.
func TestHeldIsOnTheDiskOrRefused(t *testing.T) {
	for n := 1; n <= 6; n++ {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC, errPower} {
			d := newMemDisk()
			s, err := Open("data/spool", Options{disk: d.disk()})
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.RegisterSink("emr")
			if err != nil {
				t.Fatal(err)
			}
			from := d.ops
			d.fail = func(at int, _ string) error {
				if at == from+n || at > from+n && errors.Is(cause, errPower) {
					return cause
				}
				return nil
			}
			var want []string
			for i := range 3 {
				refs := []Ref{{Seq: uint64(2*i + 1), Device: "d", Payload: []byte("x")}, {Seq: uint64(2*i + 2), Device: "d", Payload: []byte("y")}}
				if s.Hold(t.Context(), id, refs, "why") == nil {
					want = append(want, fmt.Sprintf("%d why x", 2*i+1), fmt.Sprintf("%d why y", 2*i+2))
				}
			}
			after := d.crash(nil, true)
			if s, err = Open("data/spool", Options{disk: after.disk()}); err != nil {
				t.Fatal(err)
			}
			if got := held(t, s); !slices.Equal(got, want) {
				t.Errorf("%v after %d operations: %v, want %v", cause, n, got, want)
			}
		}
	}
}

// Letters count against the cap, and before it they take the room of what is kept for a replay.
func TestLettersCountAgainstTheCap(t *testing.T) {
	s := start(t, t.TempDir(), Options{SegmentSize: 64 << 10, Cap: 512 << 10, Keep: time.Hour})
	id := s.sink(t, "emr")
	one := Batch{Device: "d", Records: []Entry{{Payload: make([]byte, 8<<10), Sinks: 1}}}
	heldNow := 0
	for {
		err := s.put(one)
		if errors.Is(err, ErrCap) {
			break
		}
		if err != nil || heldNow > 100 {
			t.Fatalf("after %d records: %v", heldNow, err)
		}
		for _, ref := range drain(t, s.Spool, id) {
			s.hold(t, id, ref)
			heldNow++
		}
	}
	st := s.Stats()
	if st.Letters < 256<<10 || st.Bytes+st.Letters > 512<<10 || st.Sinks[id].Held != uint64(heldNow) {
		t.Fatalf("%d bytes of log, %d of letters, %d held", st.Bytes, st.Letters, heldNow)
	}
}
