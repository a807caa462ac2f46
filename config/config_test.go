package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// environ of every golden file. WORD is what must never be shown.
var environ = []string{"DB=file:data/other.db", "KEY=" + hidden, "WORD=" + hidden, "NUMBER=12", "NAME=" + hidden, "PATH=/bin"}

const hidden = "correct-horse"

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.ReplaceAll(string(want), "\r\n", "\n"); got != w {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, w)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

// TestBadFiles compares every fault of each bad file with the text beside it.
func TestBadFiles(t *testing.T) {
	t.Chdir("testdata")
	for _, file := range glob(t, "*.bad.yaml") {
		t.Run(file, func(t *testing.T) {
			_, err := config.Load(config.Options{Files: []string{file}, Env: environ})
			var faults config.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("Load = %v, want Faults", err)
			}
			text := faults.Error() + "\n"
			golden(t, strings.TrimSuffix(file, ".yaml")+".faults", text)
			for _, secret := range []string{hidden, "hunter", "ter2"} {
				if strings.Contains(text, secret) {
					t.Errorf("a fault shows %q", secret)
				}
			}
		})
	}
}

// TestGoodFiles compares the effective configuration of each good file with the text beside it.
func TestGoodFiles(t *testing.T) {
	t.Chdir("testdata")
	for _, file := range glob(t, "*.good.yaml") {
		t.Run(file, func(t *testing.T) {
			c, err := config.Load(config.Options{Files: []string{file}, Env: environ})
			if err != nil {
				t.Fatal(err)
			}
			text := c.Redacted()
			golden(t, strings.TrimSuffix(file, ".yaml")+".effective", text)
			for _, secret := range []string{hidden, "hunter", "synthetic secret"} {
				if strings.Contains(text, secret) {
					t.Errorf("the redacted form shows %q", secret)
				}
			}
		})
	}
}

// TestRedactedLoads holds that what is shown is a configuration again, with the same effect.
func TestRedactedLoads(t *testing.T) {
	t.Chdir("testdata")
	for _, file := range glob(t, "*.good.yaml") {
		c, err := config.Load(config.Options{Files: []string{file}, Env: environ})
		if err != nil {
			t.Fatal(err)
		}
		again := filepath.Join(t.TempDir(), "again.yaml")
		if err := os.WriteFile(again, []byte(c.Redacted()), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := config.Load(config.Options{Files: []string{again}, Env: environ})
		if err != nil {
			t.Errorf("%s: the redacted form does not load: %v", file, err)
			continue
		}
		if c.Redacted() != d.Redacted() {
			t.Errorf("%s: got\n%s\nwant\n%s", file, d.Redacted(), c.Redacted())
		}
	}
}

// TestLineEnds holds that a file with the line ends of Windows means the same, line by line.
func TestLineEnds(t *testing.T) {
	t.Chdir("testdata")
	for _, file := range glob(t, "*.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		unix, dos := filepath.Join(dir, "a", "hostd.yaml"), filepath.Join(dir, "b", "hostd.yaml")
		lf := strings.ReplaceAll(string(text), "\r\n", "\n")
		results := map[string]string{}
		for name, content := range map[string]string{unix: lf, dos: strings.ReplaceAll(lf, "\n", "\r\n")} {
			write(t, name, content)
			c, err := config.Load(config.Options{Files: []string{name}, Env: environ})
			if err != nil {
				results[name] = strings.ReplaceAll(err.Error(), name, "FILE")
			} else {
				results[name] = c.Redacted()
			}
		}
		if results[unix] != results[dos] {
			t.Errorf("%s: with CRLF\n%s\nwith LF\n%s", file, results[dos], results[unix])
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExampleClinic(t *testing.T) {
	c, err := config.Load(config.Options{Files: []string{"../examples/clinic/hostd.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Devices) != 3 || len(c.Sinks) != 2 || c.Plugins.Dir != "../../bin" || c.Devices[1].Settings["attachment_wait"] != "2s" {
		t.Errorf("loaded\n%s", c.Redacted())
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := config.Default().Validate(); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Workers.Size = 300
	var faults config.Faults
	if err := c.Validate(); !errors.As(err, &faults) || err.Error() != "configuration: workers.size: must be 1 to 256" {
		t.Errorf("Validate = %v", err)
	}
}
