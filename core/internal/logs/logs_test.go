package logs_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/logs"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func logging(change func(*config.Logging)) config.Logging {
	c := config.Default().Logging
	c.File.Path = ""
	if change != nil {
		change(&c)
	}
	return c
}

func open(t testing.TB, c config.Logging, console io.Writer) *logs.Logs {
	t.Helper()
	l, err := logs.Open(c, console)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// at writes one line with a fixed time.
func at(t testing.TB, l *slog.Logger, level slog.Level, msg string, args ...any) {
	t.Helper()
	r := slog.NewRecord(time.Date(2025, 9, 26, 17, 1, 34, 744_900_000, time.UTC), level, msg, 0)
	r.Add(args...)
	if err := l.Handler().Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// zoo is a line for each thing that a line may hold.
func zoo(t *testing.T, l *logs.Logs) {
	log := l.Logger("spool")
	at(t, log, slog.LevelInfo, "opened", "segments", 3, "took", 1500*time.Millisecond, "a", "two words", "empty", "")
	at(t, log, slog.LevelDebug, "안과 열림")
	at(t, log, slog.LevelWarn, "line\nbreak", "path", `C:\Program Files\hostd`, "quote", `"x"`, "ok", true)
	at(t, log, slog.LevelError, "write failed", "err", fmt.Errorf("write: %w", os.ErrPermission), "ratio", 0.25, "whole", 1e6, "n", uint64(7))
	device := l.Logger("device").With("zone", "a", "device", "ark-1")
	at(t, device, slog.LevelInfo, "up", "a", 1, "at", time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), "payload", []byte("secret payload"))
	at(t, l.Logger("sink").With("sink", "emr"), slog.LevelInfo, "up", slog.Group("pool", "open", 8, slog.Group("in", "use", 3)))
	at(t, device.WithGroup("g").With("x", 1), slog.LevelInfo, "grouped", "y", 2)
	at(t, log, slog.LevelInfo, "forged", "time", "then", "level", "none", "msg", "other", "bad key\n=", 1, "dsn", config.Secret("hunter2"))
	at(t, log, slog.LevelInfo, "rrn 900101-1234567", "id", "9001011234567", "n", int64(9001011234567), "list", []string{"x900101-1234567y"})
	at(t, log, slog.LevelInfo, "nil", "err", error(nil), "ptr", (*fs)(nil))
	at(t, log, slog.LevelInfo, "")
}

type fs struct{ name string }

func (f *fs) Error() string { return f.name }

func TestGoldenLines(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			zoo(t, open(t, logging(func(c *config.Logging) { c.Format = format }), &out))
			file := filepath.Join("testdata", format+".golden")
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if w := strings.ReplaceAll(string(want), "\r\n", "\n"); out.String() != w {
				t.Errorf("got\n%s\nwant\n%s", out.String(), w)
			}
		})
	}
}

func TestFileAndConsoleGetEveryLine(t *testing.T) {
	var console bytes.Buffer
	file := filepath.Join(t.TempDir(), "log", "deep", "hostd.log")
	l := open(t, logging(func(c *config.Logging) { c.File.Path = file }), &console)
	l.Logger("host").Info("hello there")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, file)
	if got != console.String() || !strings.Contains(got, `level=info msg="hello there" component=host`) {
		t.Errorf("file %q, console %q", got, console.String())
	}
	l.Logger("host").Info("after the end")
	if readFile(t, file) != got || l.Failed() != 1 || !strings.Contains(console.String(), "after the end") {
		t.Errorf("a line after Close: file %q, failed %d", readFile(t, file), l.Failed())
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRollsBySize writes past the size of a file and counts every line again.
func TestRollsBySize(t *testing.T) {
	dir := t.TempDir()
	l := open(t, logging(func(c *config.Logging) {
		c.File = config.LogFile{Path: filepath.Join(dir, "hostd.log"), MaxSizeMB: 1, MaxBackups: 9, MaxAgeDays: 9}
	}), nil)
	const lines = 40
	log, filler := l.Logger("host"), strings.Repeat("x", 60<<10)
	for i := range lines {
		log.Info(filler, "i", i)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "hostd*.log"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, f := range files {
		text := readFile(t, f)
		count += strings.Count(text, "\n")
		if len(text) > 1<<20 {
			t.Errorf("%s has %d bytes", f, len(text))
		}
	}
	if len(files) != 3 || count != lines || l.Failed() != 0 {
		t.Errorf("%d files with %d lines, failed %d", len(files), count, l.Failed())
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*config.Logging)
		want   error
	}{
		"folder in a file": {func(c *config.Logging) { c.File.Path = filepath.Join(blocked, "hostd.log") }, logs.ErrFile},
		"a folder":         {func(c *config.Logging) { c.File.Path = dir }, logs.ErrFile},
		"format":           {func(c *config.Logging) { c.Format = "xml" }, logs.ErrLevel},
		"level":            {func(c *config.Logging) { c.Level = "loud" }, logs.ErrLevel},
		"component":        {func(c *config.Logging) { c.Levels = map[string]string{"spool": ""} }, logs.ErrLevel},
	} {
		if _, err := logs.Open(logging(c.change), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe is closed") }

// TestFailuresAreCounted holds that a broken console does not keep a line from the file, nor vanish.
func TestFailuresAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostd.log")
	l := open(t, logging(func(c *config.Logging) { c.File.Path = file }), broken{})
	l.Logger("host").Info("one")
	l.Logger("host").Info("two")
	if text := readFile(t, file); l.Failed() != 2 || strings.Count(text, "\n") != 2 {
		t.Errorf("failed %d, file %q", l.Failed(), text)
	}
}

// explosive is a value that must not be asked.
type explosive struct{ t *testing.T }

func (e explosive) LogValue() slog.Value {
	e.t.Error("a value of a disabled line was formatted")
	return slog.Value{}
}

func (e explosive) String() string { e.t.Error("a value of a disabled line was printed"); return "" }

func TestLevels(t *testing.T) {
	var out bytes.Buffer
	l := open(t, logging(func(c *config.Logging) {
		c.Level = "warn"
		c.Levels = map[string]string{"spool": "debug", "device.ark-1": "debug", "sink": "error"}
	}), &out)
	ark := l.Logger("device").With("device", "ark-1")
	check := func(name string, log *slog.Logger, want slog.Level) {
		t.Helper()
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if got := log.Enabled(t.Context(), level); got != (level >= want) {
				t.Errorf("%s: enabled at %s is %v, want from %s on", name, level, got, want)
			}
			if level < want {
				log.Log(t.Context(), level, "x", "v", explosive{t}, "w", slog.AnyValue(explosive{t}))
			}
		}
	}
	check("host", l.Logger("host"), slog.LevelWarn)
	check("spool", l.Logger("spool"), slog.LevelDebug)
	check("device", l.Logger("device"), slog.LevelWarn)
	check("ark-1", ark, slog.LevelDebug)
	check("ark-1 seen by supervise", l.Logger("supervise").With("device", "ark-1"), slog.LevelDebug)
	check("ark-1 in a group", l.Logger("device").WithGroup("g").With("device", "ark-1"), slog.LevelWarn)
	check("sink emr", l.Logger("sink").With("sink", "emr"), slog.LevelError)
	check("sink emr seen by dispatch", l.Logger("dispatch").With("sink", "emr"), slog.LevelError)
	if out.Len() > 0 {
		t.Errorf("disabled lines were written: %s", out.String())
	}

	if err := l.SetLevels("error", map[string]string{"device": "loud"}); !errors.Is(err, logs.ErrLevel) {
		t.Errorf("SetLevels = %v", err)
	}
	check("ark-1 after a refused change", ark, slog.LevelDebug)
	if err := l.SetLevels("error", map[string]string{"device": "info"}); err != nil {
		t.Fatal(err)
	}
	check("ark-1 after a change", ark, slog.LevelInfo)
	check("spool after a change", l.Logger("spool"), slog.LevelError)
}

// TestChangesBesideLines is for the race detector.
func TestChangesBesideLines(t *testing.T) {
	l := open(t, logging(nil), io.Discard)
	log := l.Logger("device")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				log.With("device", fmt.Sprintf("d-%d", j%3)).Info("x", "i", i)
				if err := l.SetLevels([]string{"debug", "error"}[j%2], map[string]string{"device.d-1": "info"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLongLinesAreCut(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := open(t, logging(func(c *config.Logging) { c.Format = format }), &out).Logger("host")
		many := []any{}
		for i := range 500 {
			many = append(many, fmt.Sprintf("key%03d%s", i, strings.Repeat("k", 300)), strings.Repeat("\x00", 300))
		}
		for name, line := range map[string]func(){
			"message":   func() { log.Info(strings.Repeat("안과", 100_000), "device", "ark-1") },
			"value":     func() { log.Info("m", "v", strings.Repeat("\x01", 1<<20)) },
			"fields":    func() { log.Info("m", many...) },
			"all":       func() { log.Info(strings.Repeat("\n", 1<<20), many...) },
			"just fits": func() { log.Info(strings.Repeat("x", 60<<10)) },
		} {
			out.Reset()
			line()
			text := out.String()
			if len(text) > 64<<10 || strings.Count(text, "\n") != 1 || strings.ContainsRune(text, '\uFFFD') {
				t.Errorf("%s, %s: %d bytes, %d lines", format, name, len(text), strings.Count(text, "\n"))
			}
			if name == "just fits" && strings.Contains(text, "...") {
				t.Errorf("%s: a line that fits was cut", format)
			}
			if name == "fields" && !strings.Contains(text, "left_out") {
				t.Errorf("%s: nobody says that fields were left out", format)
			}
		}
	}
}

func BenchmarkDisabled(b *testing.B) {
	log := open(b, logging(nil), io.Discard).Logger("spool")
	for b.Loop() {
		log.Debug("group synced", "records", 64, "device", "ark-1")
	}
}

func BenchmarkText(b *testing.B) {
	log := open(b, logging(nil), io.Discard).Logger("spool")
	for b.Loop() {
		log.Info("group synced", "records", 64, "device", "ark-1")
	}
}
