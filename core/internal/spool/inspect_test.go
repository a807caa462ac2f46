package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Looking changes nothing, works beside a running spool, and sees everything.
func TestInspectionBesideARunningSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := start(t, dir, Options{SegmentSize: 4 << 10})
	defer s.stop()
	id := s.sink(t, "emr")
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprintf("%0200d", i))
		if err := s.put(batch("ark-1", 1, want[i])); err != nil {
			t.Fatal(err)
		}
	}
	refs := drain(t, s.Spool, id)
	if err := s.Dead(t.Context(), id, refs[0], "no column", 1); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Replay(t.Context(), id, Pick{}, true); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	before := snapshotOf(t, dir)
	i, err := Inspect(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for r, err := range i.Verify() {
		if err != nil || r.Damaged != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		records += r.Records
	}
	var got []string
	for ref, err := range i.Records() {
		if err != nil || ref.Device != "ark-1" {
			t.Fatal(ref.Device, err)
		}
		got = append(got, string(ref.Payload))
	}
	if records != len(want) || !slices.Equal(got, want) {
		t.Fatalf("%d records verified, %d read, %d written", records, len(got), len(want))
	}
	letters := 0
	for range 2 { // and the same once more
		for l, err := range i.DeadLetters("") {
			if err != nil || l.Reason != "no column" {
				t.Fatal(l, err)
			}
			letters++
		}
	}
	if letters != 2 || !slices.Equal(before, snapshotOf(t, dir)) {
		t.Fatalf("%d letters; or looking has changed something", letters)
	}
}

// What a crash left torn at the end of a segment is no damage once the next segment says where the log goes on.
func TestVerifyPassesOverATornEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := start(t, dir, Options{})
	s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, "some record")); err != nil {
		t.Fatal(err)
	}
	path := s.path(s.newest())
	s.stop()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append([]byte("hSp1 torn"), make([]byte, 600)...)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s = start(t, dir, Options{})
	if err := s.put(batch("ark-1", 1, "another")); err != nil {
		t.Fatal(err)
	}
	s.stop()
	i, err := Inspect(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range i.Verify() {
		if err != nil || r.Damaged != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := start(t, dir, Options{})
	s.sink(t, "emr")
	for range 3 {
		if err := s.put(batch("ark-1", 1, "some record", "another one")); err != nil {
			t.Fatal(err)
		}
	}
	path := s.path(s.newest())
	s.stop()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 7 {
		b := slices.Clone(whole)
		b[at] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := Inspect(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		damaged := 0
		for r, err := range i.Verify() {
			if err != nil {
				t.Fatal(err)
			}
			damaged += r.Damaged
		}
		if damaged == 0 {
			t.Fatalf("byte %d: a flipped bit was not seen", at)
		}
	}
	if _, err := Inspect(filepath.Join(dir, "nowhere"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
