package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
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

// While a host writes as fast as it can, begins files and deletes them, no look finds damage; with the host's word on what
// it has published or without.
func TestVerifyBesideHeavyAppending(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"plain":  {SegmentSize: 256 << 10},
		"sealed": {SegmentSize: 256 << 10, Seal: true, Key: testKey},
		"large":  {SegmentSize: 8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, filepath.Join(t.TempDir(), "spool"), o)
			defer appendHeavily(t, s)()
			length := 2 * time.Second
			if testing.Short() {
				length = 300 * time.Millisecond
			}
			looks, tails, files := 0, 0, map[string]bool{}
			enough := func() bool { return looks >= 10 && (len(files) >= 3 || name == "large") } // fewer prove nothing
			for end := time.Now().Add(length); time.Now().Before(end) || !enough() && t.Context().Err() == nil; looks++ {
				st := s.Stats()
				i, err := Inspect(s.dir, o)
				if err != nil {
					t.Fatal(err)
				}
				if looks%2 == 0 {
					i.Beside(st.Newest, st.Synced)
				}
				for r, err := range i.Verify() {
					if err != nil || r.Damaged != 0 || r.Missing || r.Tail != 0 && !r.Open {
						t.Fatalf("look %d: %+v, %v; published %d of %s", looks, r, err, st.Synced, st.Newest)
					}
					files[r.Name] = true
					if r.Tail > 0 {
						tails++
					}
				}
			}
			t.Logf("%d looks, %d of them in the middle of a group, %d files", looks, tails, len(files))
		})
	}
}

// appendHeavily puts in batches of all sizes from several goroutines until the returned function is called.
func appendHeavily(t *testing.T, s *running) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for n := range 3 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for ctx.Err() == nil {
				payload := bytes.Repeat([]byte{byte(n)}, random.IntN(1+30<<(10*random.IntN(2))))
				err := s.Append(ctx, batch(fmt.Sprintf("dev-%d", n), 0, string(payload), "x"), func(error) {})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// What a running host has published is damage when it is not there any more, in the newest file, too, and up to its last
// byte; what lies behind may be in writing. Without a host it is as the next start will see it.
func TestVerifyTellsDamageFromAnEndInWriting(t *testing.T) {
	const at, bytesLost = 3000, 100 // a place in the first groups
	half := []byte("hSp1 half a frame")
	for name, c := range map[string]struct {
		hurt         func(b []byte) []byte // the newest file
		beside, last Range                 // what is damaged with a running host, and without; none is zero
	}{
		"nothing":            {hurt: func(b []byte) []byte { return b }},
		"half a group more":  {hurt: func(b []byte) []byte { return append(b, half...) }},
		"zeros more":         {hurt: func(b []byte) []byte { return append(b, make([]byte, 4096)...) }},
		"noise more":         {hurt: func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xa5}, 900)...) }, last: Range{-900, 900}},
		"a bit":              {hurt: func(b []byte) []byte { b[at] ^= 4; return b }, beside: Range{at, 1}, last: Range{at, 1}},
		"many bytes":         {hurt: func(b []byte) []byte { clear(b[at:][:bytesLost]); return b }, beside: Range{at, bytesLost}, last: Range{at, bytesLost}},
		"a bit of the last":  {hurt: func(b []byte) []byte { b[len(b)-60] ^= 4; return b }, beside: Range{-60, 1}, last: Range{-60, 1}},
		"its last trailer":   {hurt: func(b []byte) []byte { b[len(b)-9] ^= 4; return b }, beside: Range{-9, 1}, last: Range{-9, 1}},
		"frames exchanged":   {hurt: exchange, beside: Range{5400, 4000}, last: Range{5400, 4000}},
		"a zero sector":      {hurt: func(b []byte) []byte { clear(b[len(b)-2000:]); return b }, beside: Range{-2000, 2000}},
		"cut off":            {hurt: func(b []byte) []byte { return b[:len(b)-700] }, beside: Range{-700, 700}},
		"cut off, and noise": {hurt: func(b []byte) []byte { return append(b[:len(b)-700], half...) }, beside: Range{-700, 700}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, filepath.Join(t.TempDir(), "spool"), Options{})
			for n := range 12 {
				if err := s.put(batch("ark-1", 0, fmt.Sprintf("%01200d", n+1))); err != nil {
					t.Fatal(err)
				}
			}
			st := s.Stats()
			path := filepath.Join(s.dir, st.Newest)
			file, err := os.ReadFile(path)
			if err != nil || int64(len(file)) <= st.Synced {
				t.Fatalf("%d bytes of %d, and no room behind them, %v", len(file), st.Synced, err)
			}
			for _, room := range [][]byte{file[st.Synced:], nil} {
				hurt := c.hurt(bytes.Clone(file[:st.Synced]))
				if err := os.WriteFile(path, slices.Concat(hurt, room), 0o600); err != nil {
					t.Fatal(err)
				}
				verdict(t, s.dir, &st, c.beside, st.Synced)
				if old := (Stats{Newest: st.Newest, Synced: 300}); c.beside.Offset >= 0 { // whole groups came after it
					verdict(t, s.dir, &old, c.beside, st.Synced)
				}
				verdict(t, s.dir, nil, c.last, int64(len(hurt)))
			}
		})
	}
}

// exchange puts the third and the fourth record into each other's place: each is good, and their groups are not what was
// written.
func exchange(b []byte) []byte {
	frameOf := func(n int) (from, to int) {
		from = bytes.Index(b, fmt.Appendf(nil, "%01200d", n)) - headerSize
		return from, from + headerSize + 1200
	}
	third, end := frameOf(3)
	fourth, last := frameOf(4)
	return slices.Concat(b[:third], b[fourth:last], b[end:fourth], b[third:end], b[last:])
}

// verdict wants the newest file's damage to cover the range, whose negative offset counts from end, and nothing of other
// frames than those that it touches.
func verdict(t *testing.T, dir string, st *Stats, want Range, end int64) {
	t.Helper()
	i, err := Inspect(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if st != nil {
		i.Beside(st.Newest, st.Synced)
	}
	if want.Offset < 0 {
		want.Offset += end
	}
	for r, err := range i.Verify() {
		if err != nil || r.Tail > 0 && r.Damaged > 0 && st == nil {
			t.Fatalf("beside a host %v: %+v, %v", st != nil, r, err)
		}
		if want == (Range{}) {
			if r.Damaged != 0 {
				t.Fatalf("beside a host %v: %+v, want no damage", st != nil, r)
			}
			continue
		}
		from, to := r.Bytes, int64(0)
		for _, d := range r.Damage {
			from, to = min(from, d.Offset), max(to, d.Offset+d.Bytes)
		}
		if r.Damaged != len(r.Damage) || r.Damaged == 0 || from > want.Offset || to < want.Offset+want.Bytes || to-from > want.Bytes+1500 {
			t.Fatalf("beside a host %v: %+v, want %+v", st != nil, r, want)
		}
	}
}

// A file that was deleted out of the middle of the log is named: by the open spool at once, and by a look at the files
// later. What the spool deletes by itself, from the oldest on, is not.
func TestADeletedFileIsNamed(t *testing.T) {
	if onWindows {
		t.Skip("an open file cannot be deleted there")
	}
	s := start(t, filepath.Join(t.TempDir(), "spool"), Options{SegmentSize: 4 << 10, Keep: time.Hour})
	s.sink(t, "emr")
	for n := range 20 {
		if err := s.put(batch("ark-1", 1, fmt.Sprintf("%01000d", n))); err != nil {
			t.Fatal(err)
		}
	}
	all := s.names()
	if list, err := s.Missing(); len(list) != 0 || err != nil || len(all) < 5 {
		t.Fatal(list, err, all)
	}
	for _, gone := range []string{all[1], all[len(all)-1]} {
		kept := filepath.Join(t.TempDir(), gone)
		if err := os.Rename(filepath.Join(s.dir, gone), kept); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Missing(); !slices.Equal(list, []string{gone}) || err != nil {
			t.Fatal(list, err, gone)
		}
		i, err := Inspect(s.dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var missing []string
		for r := range i.Verify() {
			if r.Missing {
				missing = append(missing, r.Name)
			}
		}
		if gone == all[1] && !slices.Equal(missing, []string{gone[:len("0000000002-")] + "*.seg"}) {
			t.Fatalf("%q, and %s is gone", missing, gone)
		}
		if err := os.Rename(kept, filepath.Join(s.dir, gone)); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Missing(); len(list) != 0 || err != nil {
			t.Fatal("it is back:", list, err)
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Missing(); !slices.Equal(list, all) || err != nil {
		t.Fatal("the folder is gone:", list, err)
	}
}

// The spool deletes what nobody needs all the time, and that is never taken for a loss.
func TestWhatTheSpoolDeletesIsNotMissing(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "spool"), Options{SegmentSize: 16 << 10})
	defer appendHeavily(t, s)()
	first := s.Stats().Newest
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		if list, err := s.Missing(); len(list) != 0 || err != nil {
			t.Fatal(list, err)
		}
	}
	if s.Stats().Newest == first || slices.Contains(s.names(), first) {
		t.Fatal("nothing was deleted: this proves nothing")
	}
}

// moving is a disk on which a host does something between two steps of a look.
type moving struct {
	osFiles
	osDirs
	listed func()          // after a listing
	opened func(file) file // what an opened file is for the reader
}

func (m *moving) List(path string) ([]fs.FileInfo, error) {
	infos, err := m.osDirs.List(path)
	if m.listed != nil {
		m.listed()
	}
	return infos, err
}

func (m *moving) Open(path string, flag int) (file, error) {
	f, err := m.osFiles.Open(path, flag)
	if err == nil && m.opened != nil {
		f = m.opened(f)
	}
	return f, err
}

func (m *moving) disk() disk { return disk{files: m, dirs: m} }

// stale reads as noise at one place.
type stale struct {
	file
	at int64
}

func (s stale) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.file.ReadAt(p, off)
	if at := s.at - off; at >= 0 && at < int64(n) {
		p[at] ^= 4
	}
	return n, err
}

// A file that is deleted between the listing and its opening, and bytes that are overwritten while they are read, are what a
// running host does: neither is an error or damage.
func TestInspectionSeesAHostAtWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := start(t, dir, Options{SegmentSize: 4 << 10, Keep: time.Hour})
	s.sink(t, "emr")
	for n := range 20 {
		if err := s.put(batch("ark-1", 1, fmt.Sprintf("%01000d", n))); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	names := s.names()
	left := len(names) - 3
	m := &moving{}
	m.listed = func() { // the oldest goes after each of three listings
		if len(names) > left {
			if err := os.Remove(filepath.Join(dir, names[0])); err != nil {
				t.Error(err)
			}
			names = names[1:]
		}
	}
	i, err := Inspect(dir, Options{disk: m.disk()})
	if err != nil || len(i.files) != left {
		t.Fatalf("%+v, %v", i, err)
	}
	n := 0
	m.opened = func(f file) file {
		if n++; n < left {
			return f
		}
		m.opened = nil // the newest file, once
		return stale{f, 1000}
	}
	for r, err := range i.Verify() {
		if err != nil || r.Damaged != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if m.opened != nil {
		t.Fatal("nothing was overwritten: this proves nothing")
	}
}

// TestVerifyReadsTheDeadLetters damages one of three letters, and leaves the last one torn as a crash does.
func TestVerifyReadsTheDeadLetters(t *testing.T) {
	for _, seal := range []bool{false, true} {
		dir := t.TempDir()
		opt := Options{Key: testKey, Seal: seal}
		s, err := Open(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.RegisterSink("emr")
		if err != nil {
			t.Fatal(err)
		}
		var ends []int64
		for n := range 3 {
			if err := s.Dead(t.Context(), id, Ref{Seq: uint64(n + 1), Device: "d", Payload: []byte("record")}, "why", 1); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, s.dead.list()[0].end)
		}
		path := filepath.Join(s.dead.dir, s.dead.list()[0].name)
		s.Close()
		verified := func() SegmentReport {
			i, err := Inspect(dir, opt)
			if err != nil {
				t.Fatal(err)
			}
			var all []SegmentReport
			for r, err := range i.VerifyLetters() {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r)
			}
			if len(all) != 1 || all[0].Name != filepath.Join("dead", filepath.Base(path)) || all[0].Sealed != seal {
				t.Fatalf("sealed %t: %+v", seal, all)
			}
			return all[0]
		}
		if r := verified(); r.Records != 3 || r.Damaged != 0 || r.Tail != 0 || r.Bytes != ends[2] {
			t.Errorf("sealed %t, whole: %+v", seal, r)
		}
		if err := os.Truncate(path, ends[2]-5); err != nil {
			t.Fatal(err)
		}
		if r := verified(); r.Records != 2 || r.Damaged != 0 || r.Tail != ends[2]-5-ends[1] {
			t.Errorf("sealed %t, torn: %+v", seal, r)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[ends[1]-1] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := verified(); r.Records != 1 || r.Damaged != 1 || len(r.Damage) != 1 || r.Damage[0] != (Range{ends[0], ends[1] - ends[0]}) {
			t.Errorf("sealed %t, damaged: %+v", seal, r)
		}
	}
}

// Latest is when the last record was received, or when the newest file was begun; Held is what the folder has.
func TestLatestAndHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	latest := func() time.Time {
		t.Helper()
		i, err := Inspect(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		at, err := i.Latest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := i.Latest(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
		return at
	}
	if _, _, err := Held(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	begin := time.Now()
	s := start(t, dir, Options{Reserve: 1 << 20})
	s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, "one")); err != nil {
		t.Fatal(err)
	}
	first := latest()
	if err := s.put(batch("ark-1", 1, "two")); err != nil {
		t.Fatal(err)
	}
	if last := latest(); first.Before(begin) || !last.After(first) || last.After(time.Now()) {
		t.Errorf("begun %s, first %s, last %s", begin, first, last)
	}
	s.stop()
	var want int64
	list, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, f := range list {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		want += info.Size()
	}
	if held, reserve, err := Held(dir); held != want || reserve != 1<<20 || err != nil {
		t.Errorf("%d bytes and a reserve of %d, want %d, %v", held, reserve, want, err)
	}
}
