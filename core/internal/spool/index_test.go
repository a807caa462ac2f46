package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func indexAll(t testing.TB, s *Spool) {
	t.Helper()
	for s.indexOne(t.Context()) {
	}
}

// Whatever an index file says, and however much of it is there, the answers are those of the segments.
func TestDamagedIndexIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]Options{"plain": {}, "sealed": {Seal: true, Key: testKey}} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk()
			opt.disk, opt.Describe, opt.SegmentSize = d.disk(), describeText, 1200
			s := fill(t, opt, rand.New(rand.NewPCG(3, 3)))
			defer s.Close()
			indexAll(t, s)
			p := s.places()[1]
			path := s.index.path(p)
			whole := slices.Clone(d.names[path].data)
			good, _ := s.index.load(p, new([]byte), func(*tableHead) bool { return true })
			r := loadRow(good.rows)
			all := Lookup{To: time.Unix(0, r.received+int64(time.Hour))}
			want := scanned(t, s, all)
			check := func(what string, data []byte) {
				t.Helper()
				d.names[path].data = data
				same(t, finds(t, s, all), want)
				named := map[blobHash]uint64{}
				if _, err := s.index.named(t.Context(), p, named); err != nil || len(named) == 0 {
					t.Fatalf("%s: %d named, %v", what, len(named), err)
				}
				if got := d.names[path]; got == nil || !bytes.Equal(got.data, whole) {
					t.Fatalf("%s: the index was not made again", what)
				}
			}
			for at := range whole {
				b := slices.Clone(whole)
				b[at] ^= 1 << (at % 8)
				check(fmt.Sprint("byte ", at), b)
			}
			for _, n := range []int{0, 1, indexHead, len(whole) - 1} {
				check(fmt.Sprint("cut at ", n), slices.Clone(whole[:n]))
			}
			check("longer", append(slices.Clone(whole), 0))
			d.mu.Lock()
			delete(d.names, path)
			d.mu.Unlock()
			same(t, finds(t, s, all), want)
			if !s.index.whole(p) {
				t.Fatal("an absent index was not made")
			}
		})
	}
}

// A row with right checksums that does not fit the segment gives no wrong record, and is replaced.
func TestIndexThatLiesIsFoundOut(t *testing.T) {
	opt := Options{disk: newMemDisk().disk(), Describe: describeText, SegmentSize: 2 << 10}
	s := fill(t, opt, rand.New(rand.NewPCG(5, 5)))
	defer s.Close()
	indexAll(t, s)
	p := s.places()[0]
	lie, err := s.index.scan(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	r := loadRow(lie.rows)
	r.off++
	lie.rows = append(r.append(nil), lie.rows[rowSize:]...)
	lie.seal(p.salt)
	if err := s.index.save(p, lie); err != nil {
		t.Fatal(err)
	}
	same(t, finds(t, s, Lookup{Seq: r.seq}), scanned(t, s, Lookup{Seq: r.seq}))
	good, ok := s.index.load(p, new([]byte), func(*tableHead) bool { return true })
	if got := loadRow(good.rows); !ok || got.off != r.off-1 {
		t.Fatalf("%v, row %+v", ok, got)
	}
	// The same hashes are not the same record.
	for at := 0; at < len(good.rows); at += rowSize {
		r := loadRow(good.rows[at:])
		r.id, r.patient, r.flags = s.index.hasher().id([]byte("somebody else")), 0, 0
		good.rows = append(append(slices.Clone(good.rows[:at]), r.append(nil)...), good.rows[at+rowSize:]...)
	}
	good.seal(p.salt)
	if err := s.index.save(p, good); err != nil {
		t.Fatal(err)
	}
	same(t, finds(t, s, Lookup{ID: "somebody else"}), nil)
}

// Another key, and none, make other hashes: files of before are not used.
func TestIndexOfAnotherKeyIsMadeAgain(t *testing.T) {
	d := newMemDisk()
	for n, key := range []string{"one", "two", "", "one"} {
		opt := Options{disk: d.disk(), Describe: describeText, SegmentSize: 2 << 10, IndexKey: []byte(key), Keep: time.Hour}
		var s *Spool
		if n == 0 {
			s = fill(t, opt, rand.New(rand.NewPCG(6, 6)))
			indexAll(t, s)
		} else {
			s = open(t, opt)
		}
		for _, q := range []Lookup{{ID: "id-7"}, {Patient: "p-7"}, {Patient: "p-3", Kind: "kind-1"}} {
			same(t, finds(t, s, q), scanned(t, s, q))
		}
		s.Close()
	}
}

// Run gives full segments their files; retention takes them away; what was left behind is deleted by Open.
func TestIndexFilesComeAndGoWithTheirSegments(t *testing.T) {
	dir := t.TempDir()
	opt := Options{SegmentSize: 4 << 10, Describe: describeText}
	s := start(t, dir, opt)
	id := s.sink(t, "emr")
	n := 0
	fillUp := func() {
		for range 40 {
			n++
			if err := s.put(batch("d", 1, fmt.Sprintf("id-%d;k;p;;%0900d", n, n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	fillUp()
	waitFor(t, func() bool { return len(indexFiles(t, dir)) == s.Stats().Segments-1 })
	for _, want := range []int{1, 20, n} {
		if got := finds(t, s.Spool, Lookup{ID: fmt.Sprint("id-", want)}); len(got) != 1 {
			t.Fatalf("id-%d: %q", want, got)
		}
	}
	refs := drain(t, s.Spool, id)
	if err := s.Settle(id, refs[len(refs)-1].Seq, len(refs), 0); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Stats().Segments <= 2 })
	waitFor(t, func() bool { return len(indexFiles(t, dir)) <= 1 })
	s.stop()
	stray := filepath.Join(dir, "0000000001-00000000.idx")
	if err := os.WriteFile(stray, []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, opt)
	if _, err := os.Stat(stray); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an index without a segment is still there: %v", err)
	}
	fillUp()
	s.stop()
}

// A segment that is deleted while its index is made leaves no file.
func TestIndexOfADeletedSegmentIsDeleted(t *testing.T) {
	d := newMemDisk()
	s := fill(t, Options{disk: d.disk(), SegmentSize: 2 << 10, Describe: describeText}, rand.New(rand.NewPCG(12, 12)))
	defer s.Close()
	p := s.places()[0]
	s.dropOldest()
	if _, err := s.index.remake(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if d.names[s.index.path(p)] != nil {
		t.Fatal("the index of a deleted segment is there")
	}
}

func indexFiles(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"+indexSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Index files are written without a sync: after any end of power the answers are those of the segments.
func TestPowerCutNeverMattersToFind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(21, seed))
		d := newMemDisk()
		opt := Options{SegmentSize: 2 << 10, Describe: describeText, IndexKey: []byte("k"), Keep: time.Hour}
		for range 3 {
			opt.disk = d.disk()
			s, err := Open("data/spool", opt)
			if err != nil {
				t.Fatal(err)
			}
			cut := 20 + rnd.IntN(150)
			start := d.ops
			d.fail = func(n int, _ string) error {
				if n > start+cut {
					return errPower
				}
				return nil
			}
			for range 40 {
				if s.Append(t.Context(), randomBatch(rnd), func(error) {}) != nil {
					_ = s.Append(t.Context(), batch("dev-0", 0, "id-0;k;p;;"), func(error) {})
				}
				_ = s.commit(false)
				if rnd.IntN(3) == 0 {
					s.indexOne(t.Context())
				}
			}
			s.Close()
			d.fail = nil
			d = d.crash(rnd, rnd.IntN(3) == 0)
		}
		opt.disk = d.disk()
		s := open(t, opt)
		for n := range 20 {
			q := Lookup{ID: fmt.Sprint("id-", n)}
			if n%2 == 1 {
				q = Lookup{Patient: fmt.Sprint("p-", n)}
			}
			if got, want := finds(t, s, q), scanned(t, s, q); !slices.Equal(got, want) {
				t.Fatalf("seed %d, %+v: got %q, want %q", seed, q, got, want)
			}
		}
		s.Close()
	}
}
