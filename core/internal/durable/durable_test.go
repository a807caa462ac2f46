package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hostd/hostd/core/internal/durable"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for _, want := range []string{"first, and longer", "second", ""} {
		if err := durable.WriteFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Fatalf("%d files are left, %v", len(list), err)
	}
	if err := durable.WriteFile(filepath.Join(path, "below a file"), nil); err == nil {
		t.Fatal("a file below a file was written")
	}
}
