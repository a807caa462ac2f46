package examtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/exam"
)

// MaxAlloc is what a decoder may allocate for an input of n bytes.
func MaxAlloc(n int) uint64 { return 4*uint64(n) + 1<<20 }

// Allocated is how many bytes f allocates, at least once called. What the runtime does beside it is left out by taking
// the least of some calls where the first is above limit.
func Allocated(limit uint64, f func()) uint64 {
	least := ^uint64(0)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= limit {
			break
		}
	}
	return least
}

// Bounded fails t where decode allocates more than MaxAlloc of data, changes data, gives neither exam nor reject, or an
// exam that cannot be encoded.
func Bounded(t *testing.T, data []byte, decode func() exam.Result) {
	t.Helper()
	before := string(data)
	var got exam.Result
	if n := Allocated(MaxAlloc(len(data)), func() { got = decode() }); n > MaxAlloc(len(data)) {
		t.Fatalf("%d bytes allocated for %d bytes", n, len(data))
	}
	if before != string(data) {
		t.Fatal("input was changed")
	}
	if len(got.Exams)+len(got.Rejects) == 0 {
		t.Fatal("neither exam nor reject")
	}
	for _, e := range got.Exams {
		if _, err := exam.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range got.Rejects {
		if r.Reason == "" || r.Detail == "" || r.Offset < 0 || r.Offset+r.Length > int64(len(data)) {
			t.Fatalf("reject %+v of %d bytes", r, len(data))
		}
	}
}

// Seed adds every sample below dir to the corpus of f.
func Seed(f *testing.F, dir string) {
	f.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		sample, isWant := strings.CutSuffix(path, ".want.json")
		if err != nil || !isWant {
			return err
		}
		data, err := os.ReadFile(sample)
		f.Add(data)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

// Shared is the folder of one kind of the samples that may lie beside the checkout, in ../shared/samples; without them
// the test is skipped.
func Shared(t *testing.T, kind string) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
	samples := filepath.Join(filepath.Dir(dir), "shared", "samples", kind)
	if _, err := os.Stat(samples); err != nil {
		t.Skipf("no shared samples beside the checkout (../shared/samples/%s): testdata has their equals", kind)
	}
	return samples
}
