package spool

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stageBlob takes content as an attachment whose file has that age.
func stageBlob(t testing.TB, s *Spool, dir, content string, age time.Duration) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "staged")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(content)
	old := time.Now().Add(-age)
	if err = errors.Join(err, f.Close(), os.Chtimes(f.Name(), old, old)); err != nil {
		t.Fatal(err)
	}
	hash := hashText(content)
	if err := s.TakeBlob(f.Name(), hash, int64(len(content))); err != nil {
		t.Fatal(err)
	}
	return hash
}

func naming(id string, hash string) string { return id + ";k;p;" + hash + ";" }

func sweep(t testing.TB, s *Spool) (removed int) {
	t.Helper()
	n, freed, err := s.SweepBlobs(t.Context())
	if err != nil || (freed > 0) != (n > 0) {
		t.Fatal(n, freed, err)
	}
	return n
}

func hasBlob(s *Spool, hash string) bool {
	f, err := s.OpenBlob(hash)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

func TestSweepRemovesWhatNobodyNames(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Describe: describeText, SegmentSize: 4 << 10, BlobGrace: time.Nanosecond}
	s := start(t, filepath.Join(dir, "spool"), opt)
	id := s.sink(t, "emr")
	named, dead := stageBlob(t, s.Spool, dir, "named", time.Hour), stageBlob(t, s.Spool, dir, "dead", time.Hour)
	if err := s.put(batch("d", 1, naming("1", named), naming("2", dead))); err != nil {
		t.Fatal(err)
	}
	coming := stageBlob(t, s.Spool, dir, "its record is still to come", 48*time.Hour)
	if n := sweep(t, s.Spool); n != 0 || !hasBlob(s.Spool, coming) {
		t.Fatalf("%d removed", n)
	}
	refs := drain(t, s.Spool, id)
	if err := s.Dead(t.Context(), id, refs[1], "why", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(id, refs[1].Seq, 2, 1); err != nil {
		t.Fatal(err)
	}
	for s.places()[0].num == 1 { // until retention deletes the segment with both
		if err := s.put(batch("d", 0, "x;k;p;;"+string(make([]byte, 1500)))); err != nil {
			t.Fatal(err)
		}
	}
	if n := sweep(t, s.Spool); n != 1 || hasBlob(s.Spool, named) || !hasBlob(s.Spool, dead) {
		t.Fatalf("%d removed, want the one whose record was deleted", n)
	}
	for l, err := range s.DeadLetters("") {
		if err == nil {
			err = s.Drop(l, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := sweep(t, s.Spool); n != 1 || hasBlob(s.Spool, dead) || !hasBlob(s.Spool, coming) {
		t.Fatalf("%d removed, want the one of the closed letter", n)
	}
	s.stop()
	s = start(t, filepath.Join(dir, "spool"), opt) // nobody is on the way to it any more
	if n := sweep(t, s.Spool); n != 1 || hasBlob(s.Spool, coming) {
		t.Fatalf("%d removed, want the one without a record", n)
	}
	s.stop()
}

func TestSweepWaitsForTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		opt := Options{Describe: describeText}
		s := start(t, filepath.Join(dir, "spool"), opt)
		hash := stageBlob(t, s.Spool, dir, "nobody's", 0)
		s.stop()
		s = start(t, filepath.Join(dir, "spool"), opt)
		defer s.stop()
		time.Sleep(59 * time.Minute) // of the bubble's clock
		if n := sweep(t, s.Spool); n != 0 {
			t.Fatalf("%d removed before the grace is over", n)
		}
		if err := os.Chtimes(s.blob(t, hash), time.Now(), time.Now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if n := sweep(t, s.Spool); n != 0 {
			t.Fatalf("%d removed: its file is too young", n)
		}
		time.Sleep(time.Hour)
		if n := sweep(t, s.Spool); n != 1 {
			t.Fatalf("%d removed after it", n)
		}
	})
}

func (r *running) blob(t testing.TB, hash string) string {
	t.Helper()
	path, err := r.blobPath(hash)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// While devices stage, take and append, sinks settle and segments are deleted, no record ever lacks its attachment.
func TestSweepBesideIntakeLosesNoAttachment(t *testing.T) {
	const devices, batches = 6, 40
	dir := t.TempDir()
	s := start(t, filepath.Join(dir, "spool"), Options{Describe: describeText, SegmentSize: 2 << 10, BlobGrace: time.Nanosecond})
	id := s.sink(t, "emr")
	var intake, rest sync.WaitGroup
	var removed atomic.Int64
	sweep := func() {
		n, _, err := s.SweepBlobs(t.Context())
		if removed.Add(int64(n)); err != nil && !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	done := make(chan struct{})
	rest.Go(func() {
		for {
			sweep()
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for round := 0; removed.Load() == 0 && round < 50 && !t.Failed(); round++ { // one processor may be too slow to remove any at first
		for w := range devices {
			intake.Go(func() {
				rnd := rand.New(rand.NewPCG(30, uint64(w)))
				for n := range batches {
					hash := stageBlob(t, s.Spool, dir, fmt.Sprint(w, " content ", rnd.IntN(9)), 24*time.Hour) // it comes again and again
					if rnd.IntN(4) == 0 {
						sweep()
					}
					if err := s.put(batch(fmt.Sprint("d", w), 1, naming(fmt.Sprint(n), hash))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := deliverVerified(t, s.Spool, id, devices*batches); err != nil {
			t.Error(err)
		}
		intake.Wait()
	}
	close(done)
	rest.Wait()
	s.stop()
	if removed.Load() == 0 {
		t.Fatal("no attachment was removed: the test shows nothing")
	}
}

// deliverVerified reads and settles n records, each with the attachment that it names.
func deliverVerified(t *testing.T, s *Spool, id SinkID, n int) error {
	r, err := s.Reader(id)
	if err != nil {
		return err
	}
	defer r.Close()
	for n > 0 {
		l, err := r.Next(t.Context(), 5, 1<<20)
		if err != nil {
			return err
		}
		for _, ref := range l.Records {
			d, err := describeText(ref.Payload)
			if err == nil {
				err = s.VerifyBlob(t.Context(), d.Attachments[0])
			}
			if err != nil {
				return fmt.Errorf("record %d: %w", ref.Seq, err)
			}
		}
		n -= len(l.Records)
		if err := s.Settle(id, l.Records[len(l.Records)-1].Seq, len(l.Records), 0); err != nil {
			return err
		}
		l.Release()
	}
	return nil
}

// A record that waits for its second chance longer than any grace finds the attachment that its first one brought.
func TestRefusedBatchKeepsItsAttachment(t *testing.T) {
	dir := t.TempDir()
	s := start(t, filepath.Join(dir, "spool"), Options{Describe: describeText, BlobGrace: time.Nanosecond})
	defer s.stop()
	hash := stageBlob(t, s.Spool, dir, "refused", 24*time.Hour)
	for range 3 {
		if n := sweep(t, s.Spool); n != 0 {
			t.Fatal("swept before its record came")
		}
	}
	if err := s.TakeBlob(filepath.Join(dir, "moved long ago"), hash, int64(len("refused"))); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.TakeBlob(bad, hashText("never there"), 14); !errors.Is(err, ErrBlob) {
		t.Fatalf("err %v, want ErrBlob", err)
	}
	if n := len(s.taken.marks); n != 1 {
		t.Fatalf("%d marks, want the one of the refused batch", n)
	}
	if err := s.put(batch("d", 0, naming("1", hash))); err != nil {
		t.Fatal(err)
	}
	sweep(t, s.Spool)
	if n := len(s.taken.marks); n != 0 || !hasBlob(s.Spool, hash) {
		t.Fatalf("%d marks are left", n)
	}
}

func TestSweepThatCannotReadAllRemovesNothing(t *testing.T) {
	damage := func(t *testing.T, pattern string) {
		t.Helper()
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatal(list, err)
		}
		b, err := os.ReadFile(list[0])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(list[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(t *testing.T, dir string){
		"segment":     func(t *testing.T, dir string) { damage(t, filepath.Join(dir, "spool", "*.seg")) },
		"dead letter": func(t *testing.T, dir string) { damage(t, filepath.Join(dir, "spool", deadDir, "*")) },
		"deleted": func(t *testing.T, dir string) {
			for _, pattern := range []string{"*.seg", "*.idx"} {
				list, _ := filepath.Glob(filepath.Join(dir, "spool", pattern))
				for _, p := range list[:min(1, len(list))] {
					if err := os.Remove(p); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
		"no record that Describe knows": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opt := Options{Describe: describeText, SegmentSize: 4 << 10, BlobGrace: time.Nanosecond, Keep: time.Hour}
			s := start(t, filepath.Join(dir, "spool"), opt)
			id := s.sink(t, "emr")
			orphan := stageBlob(t, s.Spool, dir, "nobody's", time.Hour)
			payload := "1;k;p;;" + string(make([]byte, 3000))
			if harm == nil {
				payload = "nothing that can be read"
			}
			for range 4 {
				if err := s.put(batch("d", 1, payload)); err != nil {
					t.Fatal(err)
				}
			}
			if harm != nil {
				if err := s.Dead(t.Context(), id, drain(t, s.Spool, id)[0], "why", 1); err != nil {
					t.Fatal(err)
				}
			}
			s.stop()
			for _, path := range indexFiles(t, filepath.Join(dir, "spool")) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			spool, err := Open(filepath.Join(dir, "spool"), opt) // not Run: nothing makes an index before the harm is done
			if err != nil {
				t.Fatal(err)
			}
			defer spool.Close()
			if harm != nil {
				harm(t, dir)
			}
			for range 2 { // the second time by the index files that the first one made
				n, _, err := spool.SweepBlobs(t.Context())
				if err == nil || n != 0 || !hasBlob(spool, orphan) {
					t.Fatalf("%d removed, err %v", n, err)
				}
				if name != "deleted" && !errors.Is(err, ErrUnread) {
					t.Fatalf("err %v, want ErrUnread", err)
				}
			}
		})
	}
}

func TestSweepLeavesReplaysAlone(t *testing.T) {
	s := start(t, t.TempDir(), Options{Describe: describeText, Blobs: t.TempDir()})
	defer s.stop()
	id := s.sink(t, "emr")
	if err := s.put(batch("d", 0, "1;k;p;;")); err != nil {
		t.Fatal(err)
	}
	busy := Pick{Match: func(string, []byte) bool {
		if _, _, err := s.SweepBlobs(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("err %v, want ErrBusy", err)
		}
		return true
	}}
	if n, err := s.Replay(t.Context(), id, busy, false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	sweep(t, s.Spool)
}

func TestBlobsAreVerified(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Describe: describeText}
	s := start(t, filepath.Join(dir, "spool"), opt)
	defer s.stop()
	good, bad := stageBlob(t, s.Spool, dir, "good", 0), stageBlob(t, s.Spool, dir, "bad", 0)
	lost, orphan := stageBlob(t, s.Spool, dir, "lost", 0), stageBlob(t, s.Spool, dir, "orphan", 0)
	if err := s.put(batch("d", 0, naming("1", good+","+bad), naming("2", lost), naming("3", good))); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(s.blob(t, bad), []byte("BAD"), 0o600)
	if err = errors.Join(err, os.Remove(s.blob(t, lost))); err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[string]error{good: nil, bad: ErrBlob, lost: os.ErrNotExist, "../x": ErrBlob, orphan: nil} {
		if err := s.VerifyBlob(t.Context(), hash); !errors.Is(err, want) {
			t.Errorf("verify: err %v, want %v", err, want)
		}
		r, err := s.ReadBlob(hash)
		if err == nil {
			_, err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		if !errors.Is(err, want) {
			t.Errorf("read: err %v, want %v", err, want)
		}
	}
	i, err := Inspect(filepath.Join(dir, "spool"), opt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := i.VerifyBlobs(t.Context())
	want := BlobReport{Named: 3, Bytes: 7, Missing: []string{lost}, Damaged: []string{bad}, Orphans: 1, OrphanBytes: 6}
	if err != nil || fmt.Sprint(r) != fmt.Sprint(want) {
		t.Fatalf("got %+v, %v; want %+v", r, err, want)
	}
}
