package host

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/spool"
)

// machine is a configuration without devices and sinks, whose paths are in a folder of the test.
func machine(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	c := config.Default()
	c.DataDir, c.Plugins.Dir = filepath.Join(dir, "data"), filepath.Join(dir, "plugins")
	c.Logging.File.Path, c.Admin.Listen = filepath.Join(dir, "log", "hostd.log"), "127.0.0.1:0"
	c.Spool.ReserveMB = 0
	return c
}

// tree has every file and folder below dir with its content.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			list = append(list, p)
			return err
		}
		b, err := os.ReadFile(p)
		list = append(list, p+" "+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var otherKey = strings.Repeat("08", 32)

// sealed leaves a spool that was sealed with a key of sevens, and its dead letters, too.
func sealed(t *testing.T, dir string) {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{Seal: true, Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	g := life.NewGroup(t.Context())
	g.Go("spool", s.Run)
	id, err := s.RegisterSink("emr")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	b := spool.Batch{Device: "ark-1", Records: []spool.Entry{{Payload: []byte("one"), Sinks: spool.SinkSet(0).With(id)}}}
	if err := s.Append(t.Context(), b, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Dead(t.Context(), id, spool.Ref{Seq: 1, Device: "ark-1", Payload: []byte("one")}, "no column", 1); err != nil {
		t.Fatal(err)
	}
	g.Cancel()
	if err := errors.Join(g.Wait(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// What the machine lacks is said by check and by run in the same words, as a fault of the environment; check changes nothing.
func TestRunFailsInTheWordsOfCheck(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, c *config.Config)
		want  string // in the sentence; empty: nothing is wrong
		runs  bool   // run starts all the same, and tries again
	}{
		"nothing":  {spoil: func(*testing.T, *config.Config) {}},
		"data_dir": {spoil: func(t *testing.T, c *config.Config) { put(t, c.DataDir, "a file") }, want: "data_dir cannot be written: "},
		"above it": {spoil: func(t *testing.T, c *config.Config) {
			put(t, filepath.Dir(c.DataDir)+"/x", "")
			c.DataDir = filepath.Dir(c.DataDir) + "/x/data"
		}, want: "change data_dir"},
		"spool folder": {spoil: func(t *testing.T, c *config.Config) { put(t, filepath.Join(c.DataDir, "spool"), "a file") }, want: "data_dir cannot be written: "},
		"log folder":   {spoil: func(t *testing.T, c *config.Config) { put(t, filepath.Dir(c.Logging.File.Path), "a file") }, want: "log file cannot be written: "},
		"log file":     {spoil: func(t *testing.T, c *config.Config) { put(t, c.Logging.File.Path+"/x", "") }, want: "change logging.file.path"},
		"lock file":    {spoil: func(t *testing.T, c *config.Config) { put(t, filepath.Join(c.DataDir, "hostd.lock", "x"), "") }, want: "open data folder "},
		"port":         {spoil: func(t *testing.T, c *config.Config) { c.Admin.Listen = takenPort(t) }, want: "is in use by another program"},
		"no key":       {spoil: func(t *testing.T, c *config.Config) { sealed(t, filepath.Join(c.DataDir, "spool")) }, want: "is sealed, and spool.key is not given"},
		"other key": {
			spoil: func(t *testing.T, c *config.Config) {
				sealed(t, filepath.Join(c.DataDir, "spool"))
				c.Spool.Key = config.Secret(otherKey)
			},
			want: "is sealed with another key than spool.key",
		},
		"no key for letters": {
			spoil: func(t *testing.T, c *config.Config) {
				dir := filepath.Join(c.DataDir, "spool")
				sealed(t, dir)
				segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
				if err != nil || len(segments) == 0 {
					t.Fatal(segments, err)
				}
				for _, s := range segments {
					os.Remove(s)
				}
			},
			want: "is sealed, and spool.key is not given",
		},
		"right key": {
			spoil: func(t *testing.T, c *config.Config) {
				sealed(t, filepath.Join(c.DataDir, "spool"))
				c.Spool.Key = config.Secret(strings.Repeat("07", 32))
			},
		},
		"database": {
			spoil: func(t *testing.T, c *config.Config) {
				put(t, filepath.Join(c.DataDir, "hostd.db"), strings.Repeat("noise", 99))
			},
			want: "is damaged or is not a database", runs: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := machine(t)
			c.spoil(t, cfg)
			before := tree(t, filepath.Dir(cfg.DataDir))
			found := Check(t.Context(), cfg)
			if found.Faults != nil || len(found.Notes) != 0 {
				t.Errorf("faults %v, notes %q", found.Faults, found.Notes)
			}
			if after := tree(t, filepath.Dir(cfg.DataDir)); !slices.Equal(before, after) {
				t.Errorf("check has changed something:\n%q\n%q", before, after)
			}
			err := opened(t, cfg)
			if c.want == "" || c.runs {
				if err != nil {
					t.Errorf("run: %v", err)
				}
			}
			if c.want == "" {
				if len(found.Environment) != 0 {
					t.Errorf("check: %v", found.Environment)
				}
				return
			}
			if len(found.Environment) == 0 {
				t.Fatal("check has found nothing")
			}
			first := found.Environment[0]
			if !errors.Is(first, ErrEnvironment) || !strings.Contains(first.Error(), c.want) || strings.Contains(first.Error(), "environment") {
				t.Errorf("check: %v", first)
			}
			if !c.runs && (!errors.Is(err, ErrEnvironment) || err.Error() != first.Error()) {
				t.Errorf("run:   %v\ncheck: %v", err, first)
			}
		})
	}
}

// opened is what Open says; what was opened is closed.
func opened(t *testing.T, c *config.Config) error {
	t.Helper()
	h := New(Options{Config: c, Started: time.Now()})
	err := h.Open(t.Context())
	if cerr := h.Close(); cerr != nil {
		t.Errorf("close: %v", cerr)
	}
	return err
}

// takenPort is an address at which another program hangs up on everybody.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// runs runs a host until the test ends.
func runs(t *testing.T, c *config.Config) *Host {
	t.Helper()
	h := New(Options{Config: c, Version: "9.9.9", Started: time.Now(), Stop: func() {}, Stopping: func() {}})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(errors.Join(err, h.Close()))
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Run(t.Context(), func() {}) }()
	t.Cleanup(func() { // behind the end of t.Context
		if err := errors.Join(<-ended, h.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// A host that runs with the same data folder is no fault, and its port is not; another program's on the port is, and so is that
// of a host with another data folder.
func TestCheckBesideARunningHost(t *testing.T) {
	cfg, other := machine(t), machine(t)
	hosts := map[*config.Config]*Host{}
	for _, c := range []*config.Config{cfg, other} {
		hosts[c] = runs(t, c)
	}
	for name, c := range map[string]struct {
		listen string
		fault  bool
	}{
		"its own port":      {hosts[cfg].Addr(), false},
		"a free port":       {"127.0.0.1:0", false},
		"another host's":    {hosts[other].Addr(), true},
		"another program's": {takenPort(t), true},
	} {
		as := *cfg
		as.Admin.Listen = c.listen
		found := Check(t.Context(), &as)
		if found.Faults != nil || len(found.Notes) != 1 || !strings.Contains(found.Notes[0], "runs with data_dir") {
			t.Errorf("%s: %+v", name, found)
		}
		if c.fault != (len(found.Environment) == 1) || c.fault && !strings.Contains(found.Environment[0].Error(), "in use by another program") {
			t.Errorf("%s: %v", name, found.Environment)
		}
	}
	err := opened(t, cfg)
	if !errors.Is(err, ErrLocked) || !errors.Is(err, ErrEnvironment) {
		t.Errorf("a second host: %v", err)
	}
}

// A start waits a moment for the lock, since a check may be looking at it.
func TestAStartOutlastsALookAtTheLock(t *testing.T) {
	p, err := newPlaces(machine(t))
	if err != nil {
		t.Fatal(err)
	}
	if held, err := locked(p.lock); held || err != nil {
		t.Fatalf("no file: %v, %v", held, err)
	}
	if err := p.make(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		look, err := tryLock(p.lock)
		if err != nil {
			t.Fatal(err)
		}
		if held, err := locked(p.lock); !held || err != nil {
			t.Fatalf("held: %v, %v", held, err)
		}
		time.AfterFunc(lockWait/2, func() { look.Close() })
		mine, err := p.takeLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		begin := time.Now()
		if _, err := p.takeLock(t.Context()); !errors.Is(err, ErrLocked) || !errors.Is(err, ErrEnvironment) || time.Since(begin) > 2*lockWait {
			t.Fatalf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestWritableLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "x")
	before := tree(t, dir)
	for path, want := range map[string]bool{".": true, "new": true, "new/and/deeper": true, "file": false, "file/below": false} {
		if err := writable(filepath.Join(dir, path)); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("%q, before %q", after, before)
	}
	if os.Getuid() > 0 { // the rights of a folder do not bind the superuser, nor on Windows
		if err := os.Mkdir(filepath.Join(dir, "read-only"), 0o500); err != nil {
			t.Fatal(err)
		}
		if err := writable(filepath.Join(dir, "read-only")); !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
	}
}

func TestCheckDatabaseOfAllForms(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		good    bool
	}{
		"empty":     {"", true},
		"a head":    {sqliteHead + strings.Repeat("\x00", 84), true},
		"too short": {sqliteHead[:9], false},
		"noise":     {strings.Repeat("noise", 99), false},
	} {
		path := filepath.Join(t.TempDir(), "hostd.db")
		if err := checkDatabase(path); err != nil {
			t.Errorf("none: %v", err)
		}
		put(t, path, c.content)
		if err := checkDatabase(path); (err == nil) != c.good || err != nil && !errors.Is(err, ErrEnvironment) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); string(b) != c.content || err != nil {
			t.Errorf("%s was changed", name)
		}
		put(t, filepath.Join(path+"-wal", "x"), "") // what cannot be written beside it
		if err := checkDatabase(path); !errors.Is(err, ErrEnvironment) || !strings.Contains(err.Error(), "-wal") {
			t.Errorf("%s with a log that cannot be written: %v", name, err)
		}
	}
}

// What a sink says of a record may quote a row: numbers of people are masked wherever it is listed.
func TestReasonsAreMasked(t *testing.T) {
	cfg := machine(t)
	p, err := newPlaces(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(p.spool, spool.Options{Blobs: p.blobs, Describe: describe})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.RegisterSink("emr")
	if err != nil {
		t.Fatal(err)
	}
	const made = "900101-1234567" // of nobody
	if err := s.Dead(t.Context(), id, spool.Ref{Seq: 1, Device: "ark-1", Payload: []byte("x")}, "duplicate key "+made, 3); err != nil {
		t.Fatal(err)
	}
	s.Close()
	list, err := DeadLetters(cfg, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d letters: %v", len(list), err)
	}
	if r := list[0].Reason; strings.Contains(r, made) || !strings.HasPrefix(r, "duplicate key ") {
		t.Errorf("the list says %q", r)
	}
}

// A check that was killed leaves its folder to the next one, and one that goes on keeps it.
func TestFoldersOfKilledChecksAreSwept(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	dir, err := os.MkdirTemp("", checkFolder)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(temp, "hostd-other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	sweepChecks(checkFolder, time.Now().Add(-longCheck/2))
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a check that goes on: %v", err)
	}
	sweepChecks(checkFolder, time.Now().Add(longCheck))
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a killed check: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what is not a check's: %v", err)
	}
}
