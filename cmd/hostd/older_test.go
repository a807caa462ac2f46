package main_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPluginsOfOlderSDKs runs this host with plugins that were built with each SDK that was released: testdata/sdk has the
// sources of a device and two sinks with the SDK of their time, and never changes. The libraries are today's.
func TestPluginsOfOlderSDKs(t *testing.T) {
	archives, err := filepath.Glob("testdata/sdk/*.zip")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no older SDK: %v", err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".zip"), func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), "bin")
			buildOlder(t, archive, bin)
			const records = 3000
			c := newClinic(t, fmt.Sprintf(`
devices:
  - {name: gen, plugin: generator, settings: {count: %d, rate: 2000, size: 600}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
`, records))
			settings, err := os.ReadFile(c.path("hostd.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			c.write("hostd.yaml", strings.Replace(string(settings), programs(t), bin, 1))
			c.start()
			c.until("some records", func(s status) bool { return device(s, "gen").Records >= records/3 })
			c.kill()
			c.start()
			s := c.until("everything delivered", func(s status) bool {
				return device(s, "gen").Records >= records && sink(s, "emr").Backlog == 0 && sink(s, "archive").Backlog == 0
			})
			c.stop()
			if sink(s, "emr").Dead+sink(s, "archive").Dead > 0 {
				t.Errorf("some records were given up: %+v", s.Sinks)
			}
			db := c.database()
			if n := one(t, db, "SELECT count(DISTINCT record_id) FROM exam"); n != records {
				t.Errorf("%d different exams, want %d", n, records)
			}
			if n := one(t, db, "SELECT count(*) FROM exam"); n != records {
				t.Errorf("%d exams, want %d", n, records)
			}
		})
	}
}

// buildOlder builds the plugins of an archive of sources into bin.
func buildOlder(t *testing.T, archive, bin string) {
	t.Helper()
	dir := t.TempDir()
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, filepath.FromSlash(f.Name)), text)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), text)
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "./plugins/...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build plugins of an older SDK: %v\n%s", err, out)
	}
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
