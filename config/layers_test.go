package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/config"
)

func TestLaterLayersWin(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "hostd.yaml"), filepath.Join(dir, "more", "other.yaml")
	write(t, first, "workers: {size: 1, queue: 1}\ncache: {capacity: 1}\nsinks: [{name: a, plugin: file, batch: 5}, {name: b, plugin: file}]\n")
	write(t, filepath.Join(dir, "conf.d", "20.yaml"), "workers: {size: 3}\ncache: {ttl: 2m}\n")
	write(t, filepath.Join(dir, "conf.d", "10.yml"), "workers: {size: 2, queue: 2}\nspool: {segment_size_mb: 2}\n")
	write(t, filepath.Join(dir, "conf.d", "notes.txt"), "workers: {size: 99}\n")
	write(t, filepath.Join(dir, "conf.d", ".hidden.yaml"), "workers: {size: 98}\n")
	write(t, filepath.Join(dir, "more", "conf.d", "x.yaml"), "workers: {size: 97}\n")
	write(t, second, "cache: {capacity: 7}\nsinks: [{name: c, plugin: file}]\n")
	c, err := config.Load(config.Options{
		Files: []string{first, second},
		Env:   []string{"HOSTD_SHUTDOWN__GRACE=3s", "HOSTD_SPOOL__SEGMENT_SIZE_MB=3", "hostd_logging__levels__spool=debug"},
		Set:   map[string]string{"spool.segment_size_mb": "4", "database.pool.monitor.warn_at": "70%", "logging.file.compress": "false"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		c.Workers, c.Cache, c.Spool.SegmentSizeMB, c.Shutdown.Grace, c.Logging.Levels["spool"],
		c.Database.Pool.Monitor.WarnAt, c.Logging.File.Compress, len(c.Sinks), c.Sinks[0].Name, c.Sinks[0].Batch,
	}
	want := []any{
		config.Workers{Size: 3, Queue: 2, DeviceRateMB: 8},
		config.Cache{Capacity: 7, TTL: 2 * time.Minute},
		4, 3 * time.Second, "debug",
		config.Percent(70), false, 1, "c", 1000,
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d: %v, want %v", i, got[i], want[i])
		}
	}
}

// TestFaultsOfLayers holds where a fault is said to be, and that a later layer mends a value but not a fault of form.
func TestFaultsOfLayers(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.yaml", "workers:\n  size: 0\n  queue: 0\ncache: {capacity: lots}\nsinks:\n  - {name: x, plugin: file, batch: none}\n")
	write(t, "b.yaml", "\n\nworkers: {size: 1000}\nsinks: [{name: x, plugin: file, batch: 0}]\n")
	_, err := config.Load(config.Options{
		Files: []string{"a.yaml", "b.yaml", "missing.yaml", "."},
		Env: []string{
			"HOSTD_WORKERS__QUEUE=-1", "HOSTD_WORKER__SIZE=1", "HOSTD_CACHE__TTL=5", "HOSTD_DEVICES=x", "HOSTD_CACHE=x", "HOSTD_=x",
			"HOSTD_PLUGIN=cookie", "HOSTD_REQUIRE=lint", "HOSTD_STEPS=race", "HOSTDX=1",
		},
		Set: map[string]string{"admin.lsten": "x", "spool.keep": "1", "sinks.0.name": "y", "database.dsn": "pwd=plain", "clinic": "${env:NONE}"},
	})
	want := `a.yaml:4: cache.capacity: must be a whole number; write plain digits, without quotes
a.yaml:6: sinks[0].batch: must be a whole number; write plain digits, without quotes
b.yaml:3: workers.size: must be 1 to 256
b.yaml:4: sinks[0].batch: must be 1 to 1000
.: cannot be read: it is not a file
environment: HOSTD_: unknown key
environment: HOSTD_CACHE: cannot be written as one text; write it in a file
environment: HOSTD_CACHE__TTL: must be a time with its unit; write a unit, e.g. 5s
environment: HOSTD_DEVICES: cannot be written as one text; write it in a file
environment: HOSTD_WORKER__SIZE: unknown key; did you mean HOSTD_WORKERS__SIZE?
environment: workers.queue: must be 1 to 65536
flags: admin.lsten: unknown key; did you mean admin.listen?
flags: clinic: environment variable NONE is not set
flags: database.dsn: has a plain password; write ${env:NAME}, ${file:path} or, on Windows, ${dpapi:path} in its place, or allow_plain_secrets: true
flags: sinks.0.name: unknown key
flags: spool.keep: must be a time with its unit; write a unit, e.g. 1s
missing.yaml: cannot be read: no such file`
	// "." sorts before letters.
	lines := strings.Split(want, "\n")
	want = strings.Join(append([]string{lines[4]}, append(lines[:4:4], lines[5:]...)...), "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestReferencedVariableIsNoKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostd.yaml")
	write(t, file, "database: {driver: postgres, dsn: 'server=db;password=${env:HOSTD_DB_PASSWORD}'}\n")
	c, err := config.Load(config.Options{Files: []string{file}, Env: []string{"HOSTD_DB_PASSWORD=" + hidden}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Database.DSN.Reveal(); got != "server=db;password="+hidden {
		t.Errorf("dsn = %q", got)
	}
}

// TestEnvironmentMayHoldSecrets holds that a password in the environment stands outside the files already, and is masked.
func TestEnvironmentMayHoldSecrets(t *testing.T) {
	c, err := config.Load(config.Options{Env: []string{"HOSTD_DATABASE__DRIVER=postgres", "HOSTD_DATABASE__DSN=server=db;password=" + hidden}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(c.Database.DSN.Reveal(), hidden) || strings.Contains(c.Redacted(), hidden) {
		t.Errorf("dsn = %q, redacted\n%s", c.Database.DSN.Reveal(), c.Redacted())
	}
}

func TestLogLevels(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostd.yaml")
	write(t, file, `
logging: {levels: {spool: debug, sink.emr: error}}
devices: [{name: ark-1, plugin: folder, log_level: debug}, {name: lab, plugin: folder}]
sinks: [{name: emr, plugin: sql, log_level: info}]
`)
	c, err := config.Load(config.Options{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	got := c.LogLevels()
	if len(got) != 3 || got["spool"] != "debug" || got["device.ark-1"] != "debug" || got["sink.emr"] != "error" {
		t.Errorf("levels %v", got)
	}
}

func TestLimits(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "big.yaml", strings.Repeat("#", 4<<20+1))
	write(t, "deep.yaml", "devices: [{name: a, plugin: b, settings: {x: "+strings.Repeat("[", 40)+strings.Repeat("]", 40)+"}}]\n")
	write(t, "many.yaml", "sinks:\n"+strings.Repeat("  - {plugin: b}\n", 65))
	write(t, "long.yaml", "workers: {"+strings.Repeat("x", 1000)+": 1}\n")
	write(t, "secret", strings.Repeat("x", 64<<10+1))
	write(t, "ref.yaml", "clinic: ${file:secret}\n")
	for file, want := range map[string]string{
		"big.yaml":  "big.yaml: cannot be read: it is larger than 4096 KiB",
		"deep.yaml": "blocks nest deeper than 32",
		"many.yaml": "many.yaml:1: sinks: has 65 entries, the limit is 64",
		"long.yaml": ": unknown key; known: device_rate_mb, queue, size",
		"ref.yaml":  "ref.yaml:1: clinic: cannot read secret: it is larger than 64 KiB",
	} {
		if _, err := config.Load(config.Options{Files: []string{file}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.300v, want %s", file, err, want)
		}
	}
}
