package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

const before = `
logging: {level: info, levels: {device.named: debug}}
database: {pool: {monitor: {interval: 10s}}}
devices:
  - {name: same, plugin: generator, settings: {count: 3, deep: {list: [1, two]}}}
  - {name: gone, plugin: generator}
  - {name: other, plugin: generator, settings: {count: 3}}
  - {name: named, plugin: generator}
sinks:
  - {name: emr, plugin: sql, start: oldest}
  - {name: archive, plugin: file, batch: 5}
routes:
  - {kind: exam, to: [emr]}
`

func loadText(t *testing.T, text string, set map[string]string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hostd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Files: []string{file}, Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompare(t *testing.T) {
	old := loadText(t, before, nil)
	for _, c := range []struct {
		name     string
		from, to string // in the text; every other line stays
		set      map[string]string
		want     config.Change
	}{
		{name: "nothing"},
		{name: "a default written out", from: "level: info,", to: "level: info, format: text,"},
		{name: "keys of every kind", set: map[string]string{
			"workers.size": "4", "database.pool.monitor.enabled": "false", "cache.ttl": "1m", "database.pool.monitor.warn_at": "50%", "clinic": "x",
		}, want: config.Change{Keys: []string{"clinic", "workers.size", "database.pool.monitor.enabled", "database.pool.monitor.warn_at", "cache.ttl"}}},
		{name: "a default that goes with another key", set: map[string]string{"database.pool.max_open": "4"}, want: config.Change{Keys: []string{"database.pool.max_open", "database.pool.max_idle"}}},
		{name: "routes", from: "kind: exam", to: "kind: document", want: config.Change{Keys: []string{"routes"}}},
		{name: "one device gone, one renamed", from: "gone", to: "come", want: config.Change{Devices: config.Entries{Added: []string{"come"}, Removed: []string{"gone"}}}},
		{name: "settings inside", from: "[1, two]", to: "[1, 2]", want: config.Change{Devices: config.Entries{Changed: []string{"same"}}}},
		{name: "another plugin", from: "gone, plugin: generator", to: "gone, plugin: folder", want: config.Change{Devices: config.Entries{Changed: []string{"gone"}}}},
		{name: "a schedule", from: "other, plugin: generator", to: "other, plugin: generator, schedule: {every: 5s}", want: config.Change{Devices: config.Entries{Changed: []string{"other"}}}},
		{name: "a device's level among the levels", from: "named: debug", to: "named: warn", want: config.Change{Keys: []string{"logging.levels"}, Devices: config.Entries{Changed: []string{"named"}}}},
		{name: "the same level in another place", from: "named, plugin: generator", to: "named, plugin: generator, log_level: warn"},
		{name: "a sink's batch", from: "batch: 5", to: "batch: 6", want: config.Change{Sinks: config.Entries{Changed: []string{"archive"}}}},
		{name: "where a sink has begun", from: ", start: oldest", to: ""},
		{name: "the order", from: "  - {name: gone, plugin: generator}\n  - {name: other, plugin: generator, settings: {count: 3}}", to: "  - {name: other, plugin: generator, settings: {count: 3}}\n  - {name: gone, plugin: generator}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(before, c.from) {
				t.Fatalf("%q is not in the text", c.from)
			}
			next := loadText(t, strings.Replace(before, c.from, c.to, 1), c.set)
			got := old.Compare(next)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.Empty() != (got.String() == "nothing") || got.Empty() != reflect.DeepEqual(got, config.Change{}) {
				t.Errorf("empty %t: %s", got.Empty(), &got)
			}
			if err := next.Restart(got); err != nil {
				t.Errorf("needs a restart: %v", err)
			}
		})
	}
}

// All keys that need a restart are told at once, each with its place; a secret's value is in none of it.
func TestRestart(t *testing.T) {
	old := loadText(t, before, nil)
	next := loadText(t, before+`
data_dir: elsewhere
admin: {listen: 127.0.0.1:9}
allow_plain_secrets: true
spool: {seal: true, key: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff}
workers: {size: 3}
`, nil)
	change := old.Compare(next)
	var faults config.Faults
	if err := next.Restart(change); !errors.As(err, &faults) || len(faults) != 4 {
		t.Fatalf("%v", err)
	}
	for i, key := range []string{"data_dir", "admin.listen", "spool.key", "spool.seal"} {
		f := faults[i]
		if f.Key != key || f.Line == 0 || !strings.HasSuffix(f.File, "hostd.yaml") || !strings.Contains(f.Text, "start it again") {
			t.Errorf("%+v is not about %s", f, key)
		}
	}
	if text := change.String() + faults.Error(); strings.Contains(text, "0011") || strings.Contains(text, "elsewhere") {
		t.Errorf("a value is told: %s", text)
	}
}

func TestSum(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	files := []string{in("hostd.yaml"), in("more.yaml")}
	seen := map[string]string{}
	look := func(what string) {
		t.Helper()
		sum := config.Sum(files)
		if again := config.Sum(files); again != sum {
			t.Errorf("%s: two looks differ", what)
		}
		if other, known := seen[sum]; known {
			t.Errorf("%s: the sum of %s", what, other)
		}
		seen[sum] = what
	}
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(in(name)), 0o700), os.WriteFile(in(name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	look("no file")
	write("hostd.yaml", "clinic: a\n")
	look("one file")
	write("more.yaml", "clinic: b\n")
	look("two files")
	write("more.yaml", "clinic: c\n")
	look("the same length")
	write("conf.d/10.yaml", "")
	look("an empty file in conf.d")
	write("conf.d/20.yaml", "clinic: d\n")
	look("another one")
	if err := os.Rename(in("conf.d/20.yaml"), in("conf.d/05.yaml")); err != nil {
		t.Fatal(err)
	}
	look("another order")
	write("conf.d/notes.txt", "clinic: e\n")
	if _, known := seen[config.Sum(files)]; !known {
		t.Error("a file that is not read counts")
	}
	if err := os.Remove(in("hostd.yaml")); err != nil {
		t.Fatal(err)
	}
	look("the first file is gone")
}
