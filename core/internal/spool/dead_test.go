package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

func letters(t testing.TB, s *Spool, sink string) []string {
	t.Helper()
	out := []string{}
	for l, err := range s.DeadLetters(sink) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %d %s %q %d %s", l.Sink, l.Seq, l.Device, l.Reason, l.Attempts, l.Payload))
	}
	return out
}

func TestDeadLettersSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	a, b := s.sink(t, "emr"), s.sink(t, "archive")
	if err := s.put(batch("ark-1", 3, "one", "two")); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, a)
	for _, err := range []error{
		s.Dead(t.Context(), a, refs[1], "no such column", 1),
		s.Dead(t.Context(), b, refs[0], strings.Repeat("é", maxReason), 5),
		s.Settle(a, refs[1].Seq, 2, 1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`emr 2 ark-1 "no such column" 1 two`}
	same(t, letters(t, s.Spool, "emr"), want)
	s.stop()
	s = start(t, dir, Options{})
	same(t, letters(t, s.Spool, "emr"), want)
	if all := letters(t, s.Spool, ""); len(all) != 2 {
		t.Fatalf("%d letters", len(all))
	}
	st := s.Stats()
	if k := st.Sinks[a]; k.Dead != 1 || k.Delivered != 1 || k.Backlog != 0 {
		t.Fatalf("emr %+v", k)
	}
	// The host was killed before it settled for archive: the record comes once more, the letter does not.
	if err := s.Dead(t.Context(), b, refs[0], "again", 1); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Sinks[b].Dead; n != 1 {
		t.Fatalf("%d letters of archive", n)
	}
	if err := s.Dead(t.Context(), 7, refs[0], "", 1); !errors.Is(err, ErrUnknownSink) {
		t.Fatalf("err %v", err)
	}
}

// A letter of a record whose letter was closed is another one, though no time has passed.
func TestLetterAfterAClosedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, t.TempDir(), Options{})
		a := s.sink(t, "emr")
		if err := s.put(batch("ark-1", 1, "one")); err != nil {
			t.Fatal(err)
		}
		refs := drain(t, s.Spool, a)
		for range 3 {
			if err := s.Dead(t.Context(), a, refs[0], "no such column", 1); err != nil {
				t.Fatal(err)
			}
			same(t, letters(t, s.Spool, "emr"), []string{`emr 1 ark-1 "no such column" 1 one`})
			for l := range s.DeadLetters("emr") {
				if err := s.Drop(l, ""); err != nil {
					t.Fatal(err)
				}
			}
			same(t, letters(t, s.Spool, "emr"), []string{})
		}
	})
}

// heedful is a disk that removes no file which is open, as that of Windows.
type heedful struct {
	osFiles
	open map[string]int
}

type heeded struct {
	file
	closed func()
}

func (h heeded) Close() error {
	h.closed()
	return h.file.Close()
}

func (h *heedful) Open(path string, flag int) (file, error) {
	f, err := h.osFiles.Open(path, flag)
	h.open[path]++
	return heeded{f, func() { h.open[path]-- }}, err
}

func (h *heedful) Remove(path string) error {
	if h.open[path] > 0 {
		return syscall.Errno(32) // ERROR_SHARING_VIOLATION
	}
	return h.osFiles.Remove(path)
}

// Letters are closed while they are read, and their bytes go all the same.
func TestFileOfClosedLettersGoesOnWindows(t *testing.T) {
	dir, opt := t.TempDir(), Options{disk: disk{files: &heedful{open: map[string]int{}}, dirs: osDirs{}}}
	for n := range 2 {
		s, err := Open(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.RegisterSink("emr")
		if err == nil {
			err = s.Dead(t.Context(), id, Ref{Seq: uint64(n + 1), Payload: []byte("x")}, "", 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			for l := range s.DeadLetters("emr") {
				if l.Seq == 1 {
					err = s.Drop(l, "")
				}
			}
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := filepath.Glob(filepath.Join(dir, deadDir, "*")); err != nil || len(list) != 1 {
		t.Errorf("files %q, %v", list, err)
	}
}

func TestDeadLetterIsOnTheDiskOrRefused(t *testing.T) {
	for n := 1; n <= 8; n++ {
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
			for i := range 4 {
				if s.Dead(t.Context(), id, Ref{Seq: uint64(i + 1), Device: "d", Payload: []byte("x")}, "why", 1) == nil {
					want = append(want, fmt.Sprintf(`emr %d d "why" 1 x`, i+1))
				}
			}
			after := d.crash(nil, true)
			s, err = Open("data/spool", Options{disk: after.disk()})
			if err != nil {
				t.Fatal(err)
			}
			same(t, letters(t, s, "emr"), want)
		}
	}
}

const helloHash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"

func TestTakeBlob(t *testing.T) {
	dir := t.TempDir()
	s := start(t, filepath.Join(dir, "spool"), Options{})
	stage := func(text string) string {
		p := filepath.Join(dir, "staged")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, c := range map[string]struct {
		hash string
		size int64
	}{
		"other hash":  {strings.Repeat("0", 64), 5},
		"too short":   {helloHash, 6},
		"too long":    {helloHash, 4},
		"upper case":  {strings.ToUpper(helloHash), 5},
		"path":        {"../" + helloHash[3:], 5},
		"empty":       {"", 5},
		"negative":    {helloHash, -1},
		"with a null": {helloHash[:63] + "\x00", 5},
	} {
		if err := s.TakeBlob(stage("hello"), c.hash, c.size); !errors.Is(err, ErrBlob) {
			t.Errorf("%s: err %v", name, err)
		}
	}
	for range 2 { // the second time it is there already
		p := stage("hello")
		if err := s.TakeBlob(p, helloHash, 5); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("staged file: %v", err)
		}
		f, err := s.OpenBlob(helloHash)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	// A damaged blob is replaced by a good one.
	if err := os.WriteFile(filepath.Join(dir, "blobs", helloHash[:2], helloHash), []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.TakeBlob(stage("hello"), helloHash, 5); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "blobs", helloHash[:2], helloHash)); err != nil || string(got) != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := s.OpenBlob(strings.Repeat("a", 64)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("err %v", err)
	}
	if _, err := s.OpenBlob("../../etc/passwd"); !errors.Is(err, ErrBlob) {
		t.Fatalf("err %v", err)
	}
}

func TestTakenBlobOutlivesAPowerCut(t *testing.T) {
	for n := 1; n < 20; n++ {
		d := newMemDisk()
		s, err := Open("data/spool", Options{disk: d.disk()})
		if err != nil {
			t.Fatal(err)
		}
		d.names["data/staging/x"] = &memFile{data: []byte("hello"), dirty: []span{{0, 5}}}
		from := d.ops
		d.fail = func(at int, _ string) error {
			if at > from+n {
				return errPower
			}
			return nil
		}
		taken := s.TakeBlob("data/staging/x", helloHash, 5) == nil
		f := d.crash(nil, true).names[filepath.Join("data/blobs", helloHash[:2], helloHash)]
		if taken && (f == nil || string(f.data) != "hello") {
			t.Fatalf("power cut after %d operations: the blob is gone", n)
		}
		if n == 19 && !taken {
			t.Fatal("never taken")
		}
	}
}
