package logs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/hostd/hostd/config"
)

// ErrFile is a log file that cannot be written.
var ErrFile = errors.New("log file cannot be written")

// ErrLevel is a word that is no level, or a format that is none.
var ErrLevel = errors.New("logging is told an unknown word")

// Logs is the open log. Its loggers may be used by many at once.
type Logs struct {
	out     *output
	lines   *logrus.Logger
	levels  *levels
	dropped atomic.Uint64

	mu     sync.Mutex
	behind map[*bucket]*slog.Logger // guarded by mu: plugins whose dropped lines are not all told
}

// Open makes the folder of the log file, proves that the file can be written, and gives the log. Console takes every
// line besides; nil is none. The error wraps ErrFile or ErrLevel.
func Open(c config.Logging, console io.Writer) (*Logs, error) {
	format, err := formatOf(c.Format)
	if err != nil {
		return nil, err
	}
	v, err := newLevels(c.Level, c.Levels)
	if err != nil {
		return nil, err
	}
	l := &Logs{out: &output{console: console}, levels: v, behind: map[*bucket]*slog.Logger{}}
	if c.File.Path != "" {
		if err := probe(c.File.Path); err != nil {
			return nil, fmt.Errorf("open log: %w: %w", ErrFile, err)
		}
		l.out.file = &lumberjack.Logger{
			Filename: c.File.Path, MaxSize: c.File.MaxSizeMB, MaxBackups: c.File.MaxBackups, MaxAge: c.File.MaxAgeDays,
			Compress: c.File.Compress, LocalTime: true,
		}
	}
	l.lines = &logrus.Logger{
		Out: l.out, Formatter: &lineFormatter{inner: format}, Level: logrus.DebugLevel,
		Hooks: logrus.LevelHooks{}, ExitFunc: func(int) {}, // nothing logs at a level that would exit
	}
	return l, nil
}

// probe opens the file as lumberjack will, which does it only at the first line.
func probe(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// Logger gives the logger of a part of the host. Its lines have the field component. A part that serves devices or
// sinks adds their name with With("device", name) or With("sink", name), and has then their level.
func (l *Logs) Logger(component string) *slog.Logger {
	return slog.New(&handler{logs: l, component: component, level: l.levels.of(component, "")})
}

// SetLevels changes the levels of all loggers, also of those that are in use. A key of levels is a component,
// "device.NAME" or "sink.NAME". With an error, which wraps ErrLevel, nothing has changed.
func (l *Logs) SetLevels(level string, levels map[string]string) error {
	return l.levels.set(level, levels)
}

// Failed counts the lines that the file or the console did not take.
func (l *Logs) Failed() uint64 { return l.out.failed.Load() }

// Dropped counts the lines of plugins that came too fast.
func (l *Logs) Dropped() uint64 { return l.dropped.Load() }

// drop counts a line that is dropped; untold is how many of its plugin are not told, this one included.
func (l *Logs) drop(limit *bucket, log *slog.Logger, untold uint64) {
	l.dropped.Add(1)
	if untold > 1 {
		return // it is in the list
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind[limit] = log
}

// TellDropped writes the line about dropped lines for each plugin that logs nothing more which would bring it. The host
// calls it every few seconds.
func (l *Logs) TellDropped() {
	for log, dropped := range l.untold(time.Now()) {
		tell(log, dropped)
	}
}

// untold takes what is to be told now out of the list.
func (l *Logs) untold(now time.Time) map[*slog.Logger]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := map[*slog.Logger]uint64{}
	for limit, log := range l.behind {
		dropped, left := limit.told(now)
		if dropped > 0 {
			list[log] = dropped
		}
		if left == 0 {
			delete(l.behind, limit)
		}
	}
	return list
}

// Close closes the file. A later line goes to the console alone and counts as failed. lumberjack leaves a goroutine.
func (l *Logs) Close() error {
	if err := l.out.close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}
