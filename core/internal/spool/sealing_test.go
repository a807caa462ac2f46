package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var testKey = bytes.Repeat([]byte{7}, keySize)

func TestSealedSpoolSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		if err := powerCuts(t, seed, false, testKey); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// A group whose sync failed was sealed for one file and goes to another, with another key.
func TestSealedGroupIsSealedAnewForAnotherSegment(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			d := newMemDisk()
			s := start(t, "data/spool", Options{disk: d.disk(), Seal: true, Key: testKey})
			id := s.sink(t, "emr")
			if err := s.put(batch("ark-1", 1, "one")); err != nil {
				t.Fatal(err)
			}
			failed := false
			d.mu.Lock()
			d.fail = func(_ int, name string) error {
				if name != op || failed {
					return nil
				}
				failed = true
				return syscall.EIO
			}
			d.mu.Unlock()
			if err := s.put(batch("ark-1", 1, "two", "three")); err != nil || !failed {
				t.Fatalf("put with a failing %s: %v, failed: %t", op, err, failed)
			}
			same(t, payloads(drain(t, s.Spool, id)), []string{"one", "two", "three"})
			s.stop()
			s = start(t, "data/spool", Options{disk: d.disk(), Key: testKey})
			same(t, payloads(drain(t, s.Spool, id)), []string{"one", "two", "three"})
			if q := s.Stats().Quarantined; q != 0 {
				t.Errorf("%d ranges set aside", q)
			}
		})
	}
}

func TestSealedBytesTellNothing(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{Seal: true, Key: testKey})
	id := s.sink(t, "emr")
	const mark = "SYNTHETIC PERSON 9901019999999"
	if err := s.put(batch("ark-1", 1, mark+" one", mark+" two")); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, id)
	if err := s.Dead(t.Context(), id, refs[0], "no column", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(id, refs[0].Seq, 1, 1); err != nil {
		t.Fatal(err)
	}
	s.stop()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.Contains(b, []byte(mark)) || bytes.Contains(b, []byte("ark-1")) {
			t.Errorf("%s has a record or a name in plain", d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, Options{Key: testKey}) // new files in plain, old ones can be read
	same(t, payloads(drain(t, s.Spool, id)), []string{mark + " two"})
	same(t, letters(t, s.Spool, "emr"), []string{`emr 1 ark-1 "no column" 1 ` + mark + " one"})
	if err := s.put(batch("ark-1", 1, "three")); err != nil {
		t.Fatal(err)
	}
	same(t, payloads(drain(t, s.Spool, id)), []string{mark + " two", "three"})
	s.stop()
}

// A key that is missing or wrong is a plain refusal, and nothing is touched.
func TestWithoutItsKeyASealedSpoolIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{Seal: true, Key: testKey})
	if err := s.put(batch("ark-1", 0, "one")); err != nil {
		t.Fatal(err)
	}
	s.stop()
	before := snapshotOf(t, dir)
	for name, o := range map[string]Options{
		"none":                    {},
		"other":                   {Key: bytes.Repeat([]byte{8}, keySize)},
		"too short":               {Seal: true, Key: testKey[1:]},
		"none, but sealing is on": {Seal: true},
	} {
		if _, err := Open(dir, o); !errors.Is(err, ErrKey) {
			t.Errorf("%s: err %v, want ErrKey", name, err)
		}
	}
	if after := snapshotOf(t, dir); !slices.Equal(before, after) {
		t.Fatal("a refused opening has changed something")
	}
	s = start(t, dir, Options{Seal: true, Key: testKey})
	if s.Stats().Records != 1 {
		t.Fatal("the record is gone")
	}
	s.stop()
}

func snapshotOf(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		list = append(list, p+" "+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A sealed payload belongs to its place: moved to another one, it is damage.
func TestSealedFramesCannotBeSwapped(t *testing.T) {
	d := newMemDisk()
	s, err := Open("data/spool", Options{disk: d.disk(), Seal: true, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RegisterSink("emr"); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), batch("ark-1", 1, "aaaa", "bbbb"), func(error) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.commit(false); err != nil {
		t.Fatal(err)
	}
	path := s.path(s.newest())
	salt := s.newest().salt
	s.Close()
	data := d.names[path].data
	c := scanner{src: memHandle{d, d.names[path]}, salt: salt, end: int64(len(data)), raw: true}
	var at []int64
	for {
		fr, ok, err := c.next()
		if err != nil || !ok {
			break
		}
		if fr.kind == kindRecord {
			at = append(at, fr.off)
		}
	}
	size := int64(4 + sealedExtra)
	a, b := data[at[0]+headerSize:at[0]+headerSize+size], data[at[1]+headerSize:at[1]+headerSize+size]
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
	sumA, sumB := data[at[0]+40:at[0]+44], data[at[1]+40:at[1]+44]
	for i := range sumA {
		sumA[i], sumB[i] = sumB[i], sumA[i]
	}
	sealHeaders(data[at[0]:at[1]+headerSize+size], salt)
	s, err = Open("data/spool", Options{disk: d.disk(), Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, ref := range drain(t, s, 0) {
		t.Errorf("a swapped payload was given out: %q", strings.ToValidUTF8(string(ref.Payload), "?"))
	}
	if s.Stats().Quarantined == 0 {
		t.Error("nothing was set aside")
	}
}

// TestSealedDamageIsFoundWhenItIsRead damages a record after the log was opened, so that its reader is the first to see it.
func TestSealedDamageIsFoundWhenItIsRead(t *testing.T) {
	d := newMemDisk()
	s, err := Open("data/spool", Options{disk: d.disk(), Seal: true, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.RegisterSink("emr")
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"first", "second", "third"} {
		if err := s.Append(t.Context(), batch("ark-1", 1, payload), func(error) {}); err != nil {
			t.Fatal(err)
		}
		if err := s.commit(false); err != nil {
			t.Fatal(err)
		}
	}
	seg := s.newest()
	data := d.names[s.path(seg)].data
	c := scanner{src: memHandle{d, d.names[s.path(seg)]}, salt: seg.salt, end: int64(len(data)), raw: true}
	for n := 0; n < 2; {
		f, ok, err := c.next()
		if err != nil || !ok {
			t.Fatalf("no second record: %v", err)
		}
		if f.kind == kindRecord {
			n++
		}
		if n == 2 {
			data[f.off+headerSize+nonceSize] ^= 1
		}
	}
	same(t, payloads(drain(t, s, id)), []string{"first", "third"})
	if n := s.Stats().Quarantined; n != 1 {
		t.Errorf("%d places were set aside, want 1", n)
	}
}

// A new lease's memory grows as an append's does: grown to the byte for each record, it would be copied as often as there are
// records, and a sealed spool would give a few thousand records a second.
func TestSealedLeaseGrowsInSteps(t *testing.T) {
	const records, size = 1000, 1000
	s := start(t, t.TempDir(), Options{Seal: true, Key: testKey})
	id := s.sink(t, "emr")
	if err := s.put(batch("ark-1", 1, slices.Repeat([]string{strings.Repeat("x", size)}, records)...)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Reader(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := r.Next(t.Context(), records, 2*records*size)
	runtime.ReadMemStats(&after)
	if err != nil || len(l.Records) != records {
		t.Fatalf("lease of %d records: %v", len(l.Records), err)
	}
	if took, limit := after.TotalAlloc-before.TotalAlloc, uint64(20*records*size); took > limit {
		t.Errorf("a lease of %d bytes took %d bytes of memory, more than %d", records*size, took, limit)
	}
}
