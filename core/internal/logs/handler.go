package logs

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/sirupsen/logrus"
)

// Names of fields that stand first in a line.
const (
	fieldComponent = "component"
	fieldDevice    = "device"
	fieldSink      = "sink"
)

// timeFormat is local time to the millisecond.
const timeFormat = "2006-01-02 15:04:05.000"

// handler is a slog.Handler over logrus. It does not change; With makes another.
type handler struct {
	logs      *Logs
	component string
	level     *slog.LevelVar
	group     string      // of what follows, with a dot at its end
	bound     []slog.Attr // with their groups in their keys; values are resolved when a line is written
}

// Enabled answers before anything of a line is made.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return h.enabled(level) }

func (h *handler) enabled(level slog.Level) bool { return level >= h.level.Level() }

// Handle writes one line. It returns no error: what cannot be written is counted, see Logs.Failed.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := make(logrus.Fields, len(h.bound)+r.NumAttrs()+1)
	for _, a := range h.bound {
		add(fields, "", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		add(fields, h.group, a)
		return true
	})
	if h.component != "" {
		fields[fieldComponent] = h.component
	}
	entry := logrus.Entry{Logger: h.logs.lines, Time: r.Time, Data: fields}
	entry.Log(levelOf(r.Level), r.Message)
	return nil
}

func levelOf(l slog.Level) logrus.Level {
	switch {
	case l < slog.LevelInfo:
		return logrus.DebugLevel
	case l < slog.LevelWarn:
		return logrus.InfoLevel
	case l < slog.LevelError:
		return logrus.WarnLevel
	default:
		return logrus.ErrorLevel
	}
}

// WithAttrs binds fields. The name of a device or sink brings its level along.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.bound = append(make([]slog.Attr, 0, len(h.bound)+len(attrs)), h.bound...)
	for _, a := range attrs {
		next.bound = append(next.bound, slog.Attr{Key: h.group + a.Key, Value: a.Value})
		if h.group == "" && (a.Key == fieldDevice || a.Key == fieldSink) && a.Value.Kind() == slog.KindString {
			next.level = h.logs.levels.of(h.component, a.Key+"."+a.Value.String())
		}
	}
	return &next
}

// WithGroup puts a name and a dot before the keys that follow.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group += name + "."
	return &next
}

// add puts one attribute into the fields; a group gives one for each of its own.
func add(fields logrus.Fields, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			add(fields, group, inner)
		}
		return
	}
	if key := group + a.Key; key != "" {
		fields[key] = plain(v)
	}
}

// plain makes a text, number or bool, so that every text of a line can be masked. Bytes are never shown: they may be a
// payload.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindString:
		return v.String()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindBool:
		return v.Bool()
	case slog.KindFloat64:
		return plainFloat(v.Float64())
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(timeFormat)
	default:
		return plainAny(v.Any())
	}
}

func plainAny(v any) any {
	switch x := v.(type) {
	case []byte:
		return fmt.Sprintf("%d bytes", len(x))
	case float32:
		return plainFloat(float64(x))
	case time.Time:
		return x.Format(timeFormat)
	default:
		return fmt.Sprint(v) // and not Error(): fmt survives a nil receiver
	}
}

// plainFloat shows a whole number as one: JSON knows no other, and 1e+06 is hard to read.
func plainFloat(f float64) any {
	switch {
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return int64(f)
	case math.IsNaN(f) || math.IsInf(f, 0): // not in JSON
		return fmt.Sprint(f)
	default:
		return f
	}
}
