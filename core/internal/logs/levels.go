package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

var levelWords = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// source is a logger's origin: a component, and the device or sink that it speaks of, as "device.NAME".
type source struct{ component, name string }

// levels keeps one level for each source, which its loggers read without a lock.
type levels struct {
	mu    sync.Mutex
	base  slog.Level                // guarded by mu
	words map[string]slog.Level     // guarded by mu: by component, "device.NAME" or "sink.NAME"
	vars  map[source]*slog.LevelVar // guarded by mu
}

func newLevels(base string, words map[string]string) (*levels, error) {
	v := &levels{vars: map[source]*slog.LevelVar{}}
	return v, v.set(base, words)
}

func (v *levels) set(base string, words map[string]string) error {
	b, err := parseLevel(base)
	if err != nil {
		return err
	}
	parsed := make(map[string]slog.Level, len(words))
	for k, w := range words {
		if parsed[k], err = parseLevel(w); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.base, v.words = b, parsed
	for s, lv := range v.vars {
		lv.Set(v.decide(s))
	}
	return nil
}

func parseLevel(word string) (slog.Level, error) {
	level, ok := levelWords[word]
	if !ok {
		return 0, fmt.Errorf("set level: %w: %q; debug, info, warn and error are known", ErrLevel, word)
	}
	return level, nil
}

// of gives the level of a source, which follows later changes.
func (v *levels) of(component, name string) *slog.LevelVar {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := source{component, name}
	lv, ok := v.vars[s]
	if !ok {
		lv = &slog.LevelVar{}
		lv.Set(v.decide(s))
		v.vars[s] = lv
	}
	return lv
}

// decide is called with mu held: the device or sink itself, else the component, else all.
func (v *levels) decide(s source) slog.Level {
	kind, _, _ := strings.Cut(s.name, ".")
	for _, key := range []string{s.name, s.component, kind} {
		if level, ok := v.words[key]; ok && key != "" {
			return level
		}
	}
	return v.base
}
