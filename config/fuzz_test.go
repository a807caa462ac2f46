package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad holds that no file makes Load panic, and that its answer is a valid Config or Faults. It leaves the file
// system out, for speed.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLoader([]string{"WORD=correct-horse"})
		l.parse("hostd.yaml", data)
		c, err := l.finish()
		if err == nil {
			checkLoaded(t, c)
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Errorf("Load = %v, want Faults", err)
		}
		for _, text := range []string{"cannot decode", "cannot merge"} {
			if strings.Contains(err.Error(), text) {
				t.Errorf("what the reader lets through must fit: %v", err)
			}
		}
	})
}

func checkLoaded(t *testing.T, c *Config) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Errorf("loaded, and not valid: %v", err)
	}
	if strings.HasPrefix(c.Redacted(), "# cannot") {
		t.Error(c.Redacted())
	}
	for i := range c.Devices {
		if _, err := c.Devices[i].SettingsJSON(); err != nil {
			t.Error(err)
		}
	}
}
