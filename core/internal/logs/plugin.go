package logs

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	hclog "github.com/hashicorp/go-hclog"
)

// stdioName is the logger that go-plugin names for its own use; any other name is that of the plugin's binary.
const stdioName = "stdio"

// Plugin gives the logger that go-plugin takes for one plugin. What the plugin logs with log/slog arrives at logger,
// which is one of Logger's with the name of the device or sink; at most 200 lines a second and 1,000 at once, what is
// above is counted and told in one line, by the next one that passes or by TellDropped. What go-plugin says itself is at debug. The logger also has Lines() io.Writer.
func (l *Logs) Plugin(logger *slog.Logger) hclog.Logger {
	return &bridge{logs: l, log: logger, limit: newBucket(), own: &atomic.Bool{}, chatter: true}
}

// bridge is an hclog.Logger over slog. The loggers that it makes share its limit.
type bridge struct {
	logs    *Logs
	log     *slog.Logger
	limit   *bucket
	own     *atomic.Bool // Lines reads the plugin's lines, and not go-plugin
	name    string
	chatter bool  // of go-plugin itself
	implied []any // what With was given
}

// Log writes a line at a level.
func (b *bridge) Log(level hclog.Level, msg string, args ...any) { b.write(level, msg, args) }

// Trace writes at debug: slog has nothing below.
func (b *bridge) Trace(msg string, args ...any) { b.write(hclog.Trace, msg, args) }

// Debug writes a line.
func (b *bridge) Debug(msg string, args ...any) { b.write(hclog.Debug, msg, args) }

// Info writes a line.
func (b *bridge) Info(msg string, args ...any) { b.write(hclog.Info, msg, args) }

// Warn writes a line.
func (b *bridge) Warn(msg string, args ...any) { b.write(hclog.Warn, msg, args) }

// Error writes a line.
func (b *bridge) Error(msg string, args ...any) { b.write(hclog.Error, msg, args) }

// IsTrace is IsDebug.
func (b *bridge) IsTrace() bool { return b.enabled(b.level(hclog.Trace)) }

// IsDebug says whether such a line would be written.
func (b *bridge) IsDebug() bool { return b.enabled(b.level(hclog.Debug)) }

// IsInfo says whether such a line would be written.
func (b *bridge) IsInfo() bool { return b.enabled(b.level(hclog.Info)) }

// IsWarn says whether such a line would be written.
func (b *bridge) IsWarn() bool { return b.enabled(b.level(hclog.Warn)) }

// IsError says whether such a line would be written.
func (b *bridge) IsError() bool { return b.enabled(b.level(hclog.Error)) }

// ImpliedArgs are what With was given.
func (b *bridge) ImpliedArgs() []any { return b.implied }

// With binds fields.
func (b *bridge) With(args ...any) hclog.Logger {
	next := *b
	next.implied = slices.Concat(b.implied, args)
	next.log = b.log.With(attrs(args)...)
	next.chatter = false // go-plugin binds nothing
	return &next
}

// Name is the name by which go-plugin made it.
func (b *bridge) Name() string { return b.name }

// Named is what go-plugin calls to pass on what the plugin logs.
func (b *bridge) Named(name string) hclog.Logger {
	if b.name != "" {
		name = b.name + "." + name
	}
	return b.ResetNamed(name)
}

// ResetNamed is Named without the name that it has.
func (b *bridge) ResetNamed(name string) hclog.Logger {
	next := *b
	next.name = name
	next.chatter = name == stdioName
	return &next
}

// SetLevel does nothing: Logs.SetLevels is the only place for levels.
func (b *bridge) SetLevel(hclog.Level) {}

// GetLevel is the lowest, since go-plugin asks only once and levels change; Off keeps it from parsing lines.
func (b *bridge) GetLevel() hclog.Level {
	if b.own.Load() {
		return hclog.Off
	}
	return hclog.Trace
}

// StandardLogger gives a logger of the standard library that writes at info.
func (b *bridge) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(b.StandardWriter(opts), "", 0)
}

// StandardWriter takes lines at info.
func (b *bridge) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{b} }

type lineWriter struct{ b *bridge }

// Write never fails.
func (w lineWriter) Write(text []byte) (int, error) {
	w.b.Info(string(bytes.TrimRight(text, "\r\n")))
	return len(text), nil
}

func (b *bridge) level(l hclog.Level) slog.Level {
	switch {
	case b.chatter || l == hclog.Trace || l == hclog.Debug:
		return slog.LevelDebug
	case l == hclog.Warn:
		return slog.LevelWarn
	case l == hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// enabled asks our own handler; another's is asked by slog itself.
func (b *bridge) enabled(level slog.Level) bool {
	h, ours := b.log.Handler().(*handler)
	return !ours || h.enabled(level)
}

func (b *bridge) write(from hclog.Level, msg string, args []any) {
	level := b.level(from)
	if !b.enabled(level) {
		return
	}
	ok, dropped := b.limit.take(time.Now())
	if !ok {
		b.logs.drop(b.limit, b.log, dropped)
		return
	}
	tell(b.log, dropped)
	switch fields := attrs(args); level {
	case slog.LevelDebug:
		b.log.Debug(msg, fields...)
	case slog.LevelWarn:
		b.log.Warn(msg, fields...)
	case slog.LevelError:
		b.log.Error(msg, fields...)
	default:
		b.log.Info(msg, fields...)
	}
}

// tell says how many lines of a plugin were dropped, where there are any.
func tell(log *slog.Logger, dropped uint64) {
	if dropped > 0 {
		log.Warn("plugin logged too fast, lines were dropped", "dropped", dropped)
	}
}

// attrs makes slog's attributes of go-plugin's pairs. The plugin's own time is left out: go-plugin puts it last.
func attrs(args []any) []any {
	if n := len(args); n >= 2 && args[n-2] == "timestamp" {
		args = args[:n-2]
	}
	var out []any
	for pair := range slices.Chunk(args, 2) {
		if len(pair) < 2 {
			return append(out, slog.Any("extra", value(pair[0])))
		}
		out = append(out, slog.Attr{Key: keyOf(pair[0]), Value: value(pair[1])})
	}
	return out
}

// keyOf keeps a plugin from speaking in another's name.
func keyOf(key any) string {
	k := fmt.Sprint(key)
	switch k {
	case fieldComponent, fieldDevice, fieldSink:
		return "plugin." + k
	case "":
		return "plugin" // slog would take a group without a name for the fields themselves
	}
	return k
}

// value takes what JSON gives, also inside, so that whole numbers stay whole.
func value(v any) slog.Value {
	switch x := v.(type) {
	case map[string]any:
		var inner []slog.Attr
		for k, e := range x {
			inner = append(inner, slog.Attr{Key: k, Value: value(e)})
		}
		return slog.GroupValue(inner...)
	case []any:
		return slog.StringValue(fmt.Sprint(flat(x)))
	case hclog.Format:
		if len(x) > 0 {
			return slog.StringValue(fmt.Sprintf(fmt.Sprint(x[0]), x[1:]...))
		}
	case nil:
		return slog.StringValue("null")
	}
	return slog.AnyValue(v)
}

// flat is a value inside a list.
func flat(v any) any {
	switch x := v.(type) {
	case map[string]any:
		inner := make(map[string]any, len(x))
		for k, e := range x {
			inner[k] = flat(e)
		}
		return inner
	case []any:
		inner := make([]any, len(x))
		for i, e := range x {
			inner[i] = flat(e)
		}
		return inner
	default:
		return plain(value(v))
	}
}
