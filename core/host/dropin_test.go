package host

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

// What lies where everybody can write is not started, not even to ask it what it is.
func TestLooseFolderIsNotAsked(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("rights are lists there, see TestWritersInADescriptor")
	}
	c := config.Default()
	c.DataDir, c.Plugins.Dir = t.TempDir(), filepath.Join(t.TempDir(), "in")
	p, err := newPlaces(c)
	file := filepath.Join(c.Plugins.Dir, "nidek")
	if err = errors.Join(err, os.Mkdir(c.Plugins.Dir, 0o700), os.WriteFile(file, []byte("no program"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if got, err := p.runs(c.Plugins.Trust, "nidek"); err != nil || got != file {
		t.Errorf("in a folder of ours: %s, %v", got, err)
	}
	for _, loose := range []string{c.Plugins.Dir, file} {
		if err := os.Chmod(loose, 0o777); err != nil {
			t.Fatal(err)
		}
		if got, err := p.runs(c.Plugins.Trust, "nidek"); !errors.Is(err, config.ErrUnchecked) || got != "" || !strings.Contains(err.Error(), "everybody") {
			t.Errorf("%s, which everybody can write: %q, %v", loose, got, err)
		}
		if err := os.Chmod(loose, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
