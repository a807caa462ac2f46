package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// history is what the spool says of a device: position, records, and what is found under its name, newest first.
func history(t *testing.T, s *Spool, name string) string {
	t.Helper()
	p, ok := s.Position(name)
	text := fmt.Sprintf("%q %t", p, ok)
	for _, d := range s.Stats().Devices {
		if d.Name == name {
			text += fmt.Sprintf(" %d %d %t", d.Records, d.Unrouted, !d.Latest.IsZero())
		}
	}
	for f, err := range s.Find(t.Context(), Lookup{Device: name}) {
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf(" %s:%s", f.Ref.Device, f.Ref.Payload)
	}
	return text
}

// A device goes on under its new name: position, counters, what is found and replayed; what was stored keeps the old name,
// which is free for another device. So it is after restarts, and over files.
func TestRenameDevice(t *testing.T) {
	for name, opt := range map[string]Options{"plain": {}, "sealed": {Seal: true, Key: testKey}, "small files": {SegmentSize: 200}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			s := start(t, dir, opt)
			emr := s.sink(t, "emr")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(s.put(batch("ark", SinkSet(0).With(emr), "1", "2")))
			must(s.put(batch("lab", 0, "x")))
			if err := s.RenameDevice(t.Context(), "ark", "lab"); !errors.Is(err, ErrKnownDevice) {
				t.Errorf("renamed to a device that is there: %v", err)
			}
			if err := s.RenameDevice(t.Context(), "nobody", "ark-1"); !errors.Is(err, ErrUnknownDevice) {
				t.Errorf("renamed from nobody: %v", err)
			}
			must(s.RenameDevice(t.Context(), "ark", "ark-1"))
			if s.KnowsDevice("ark") || !s.KnowsDevice("ark-1") {
				t.Error("the old name is known, or the new one is not")
			}
			must(s.put(batch("ark-1", 0, "3")))
			must(s.put(batch("ark", SinkSet(0).With(emr), "other")))
			must(s.RenameDevice(t.Context(), "ark-1", "ark-2"))
			for restart := range 3 {
				for name, want := range map[string]string{
					"ark-2": `"3" true 3 1 true ark-1:3 ark:2 ark:1`,
					"ark-1": `"" false ark-1:3 ark:2 ark:1`,
					"ark":   `"other" true 1 0 true ark:other ark:2 ark:1`,
					"lab":   `"x" true 1 1 true lab:x`,
				} {
					if got := history(t, s.Spool, name); got != want {
						t.Errorf("after %d restarts %s is %s, want %s", restart, name, got, want)
					}
				}
				if st := s.Stats(); st.Records != 5 || st.Unrouted != 2 || len(st.Devices) != 3 {
					t.Errorf("%+v", st)
				}
				if n, err := s.Replay(t.Context(), emr, Pick{Device: "ark-2"}, true); err != nil || n != 1 { // two wait for the sink
					t.Errorf("%d records of the device would be replayed, %v", n, err)
				}
				same(t, payloads(drain(t, s.Spool, emr)), []string{"1", "2", "other"})
				s.stop()
				i, err := Inspect(dir, opt)
				must(err)
				n := 0
				for f, err := range i.Find(t.Context(), Lookup{Device: "ark-2"}) {
					must(err)
					if n++; f.Ref.Device == "ark-2" {
						t.Errorf("record %s has the new name", f.Ref.Payload)
					}
				}
				if n != 3 {
					t.Errorf("%d records found in the files", n)
				}
				s = start(t, dir, opt)
			}
		})
	}
}

// A crash at any operation of the disk leaves the history under the old name or under the new one, and after the answer under
// the new one.
func TestRenameDeviceAndACrash(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d := newMemDisk()
		s, err := tryStart("spool", Options{disk: d.disk()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.put(batch("ark", 0, "1", "2")); err != nil {
			t.Fatal(err)
		}
		renamed := seed%2 == 0
		if renamed {
			if err := s.RenameDevice(t.Context(), "ark", "ark-1"); err != nil {
				t.Fatal(err)
			}
		} else {
			failFrom(d, rnd.IntN(3))
			_ = s.RenameDevice(t.Context(), "ark", "ark-1") // whether it was done is what the disk says
		}
		left := d.crash(rnd, false)
		s.stop()
		if s, err = tryStart("spool", Options{disk: left.disk()}); err != nil {
			t.Fatal(err)
		}
		was, is := history(t, s.Spool, "ark"), history(t, s.Spool, "ark-1")
		s.stop()
		const all = ` true 2 2 true ark:2 ark:1`
		switch {
		case is == `"2"`+all && !s.KnowsDevice("ark"):
		case was == `"2"`+all && !renamed && !s.KnowsDevice("ark-1"):
		default:
			t.Errorf("seed %d, renamed %t: the old name has %s, the new one %s", seed, renamed, was, is)
		}
	}
}

// A rename that the disk refuses leaves the device as it was, and may be tried again.
func TestRenameDeviceOnABrokenDisk(t *testing.T) {
	d := newMemDisk()
	s, err := tryStart("spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	if err := s.put(batch("ark", 0, "1")); err != nil {
		t.Fatal(err)
	}
	failFrom(d, 0)
	if err := s.RenameDevice(t.Context(), "ark", "ark-1"); !errors.Is(err, ErrDisk) {
		t.Fatalf("renamed on a broken disk: %v", err)
	}
	failFrom(d, 1<<30)
	if !s.KnowsDevice("ark") || s.KnowsDevice("ark-1") {
		t.Error("the device has lost its name")
	}
	if err := s.put(batch("ark", 0, "2")); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameDevice(t.Context(), "ark", "ark-1"); err != nil {
		t.Fatal(err)
	}
	if got, want := history(t, s.Spool, "ark-1"), `"2" true 2 2 true ark:2 ark:1`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// failFrom makes the disk fail for good after some more operations.
func failFrom(d *memDisk, more int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.ops + more
	d.fail = func(n int, _ string) error {
		if n > last {
			return errPower
		}
		return nil
	}
}
