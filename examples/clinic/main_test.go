package main

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheMainJob runs the whole of it with real programs, and finds the exams of all three makers in the archive.
func TestTheMainJob(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every program")
	}
	before := sums(t, ".")
	j := job{bin: filepath.Join(t.TempDir(), "bin"), work: filepath.Join(t.TempDir(), "work")}
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(j.work, "archive", "*.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no archive: %v", err)
	}
	var all string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all += string(b)
	}
	for _, model := range []string{"KR-800S", "NT-530P", "ARK-1s", "LM-1800PD", "TL-7000"} {
		if !strings.Contains(all, model) {
			t.Errorf("the archive has no exam of %s:\n%.2000s", model, all)
		}
	}
	if _, err := os.Stat(filepath.Join(j.work, "data", "hostd.db")); err != nil {
		t.Error(err)
	}
	for name, sum := range sums(t, ".") {
		if before[name] != sum {
			t.Errorf("running the example changed %s", name)
		}
	}
}

func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[p] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWholeWantsEveryRecordInEverySink(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*status)
		want bool
	}{
		"all there":        {func(*status) {}, true},
		"a record missing": {func(s *status) { s.Devices[0].Records = 1 }, false},
		"one waits":        {func(s *status) { s.Sinks[0].Backlog = 1 }, false},
		"one is dead":      {func(s *status) { s.Sinks[0].Dead = 1 }, false},
		"one is unsettled": {func(s *status) { s.Sinks[0].Delivered = 2 }, false},
		"no sink":          {func(s *status) { s.Sinks = nil }, false},
	} {
		var s status
		s.Devices = append(s.Devices, struct {
			Name    string
			State   string
			Records uint64
			Error   string
		}{Records: 3})
		s.Sinks = append(s.Sinks, struct {
			Name                     string
			State                    string
			Delivered, Backlog, Dead uint64
			Error                    string
		}{Delivered: 3})
		c.edit(&s)
		if got := s.whole(3); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWaitingCountsWhatIsLeftAndWhatFailed(t *testing.T) {
	in := t.TempDir()
	for _, name := range []string{"a/x.xml", "a/y.XML", "a/done/z.xml", "a/failed/w.xml", "a/failed/w.xml.reason.txt", "b/image.jpg"} {
		p := filepath.Join(in, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if left, failed, err := waiting(in); left != 2 || failed != 1 || err != nil {
		t.Errorf("%d left, %d failed, %v", left, failed, err)
	}
}
