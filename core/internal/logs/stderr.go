package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	hclog "github.com/hashicorp/go-hclog"
)

// Lines gives a writer for go-plugin's ClientConfig.Stderr, which takes what the plugin writes to its standard error in
// go-plugin's place: go-plugin's own reading panics, and with it the host, at a JSON line whose @message is no text.
// It must be called before the process starts, once for each; then go-plugin parses nothing. The writer belongs to one
// goroutine and never fails.
func (b *bridge) Lines() io.Writer {
	b.own.Store(true)
	next := *b
	next.chatter = false
	return &stderr{b: &next}
}

// stderr cuts a stream into lines of at most maxLine bytes.
type stderr struct {
	b     *bridge
	line  []byte
	trace Panic
}

// Write takes any part of the stream.
func (s *stderr) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		text, whole := bytes.CutSuffix(part, []byte("\n"))
		s.line = append(s.line, text[:min(len(text), maxLine-len(s.line))]...)
		if whole {
			s.end()
		}
	}
	return len(p), nil
}

func (s *stderr) end() {
	line := bytes.TrimSuffix(s.line, []byte("\r"))
	s.line = s.line[:0]
	if len(line) > 0 && line[0] == '{' && s.b.dropped() {
		return
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) == nil && s.structured(fields) {
		return
	}
	switch show, part := s.trace.Line(string(line)); {
	case !part:
		s.b.Debug(show)
	case show != "":
		s.b.Error(show)
	}
}

// dropped is true while the plugin may log nothing: reading a record that is dropped anyway would cost the host more than
// writing it costs the plugin.
func (b *bridge) dropped() bool {
	untold := b.limit.peek(time.Now())
	if untold > 0 {
		b.logs.drop(b.limit, b.log, untold)
	}
	return untold > 0
}

// structured writes a line in the form of serve; false means that it is not one.
func (s *stderr) structured(fields map[string]any) bool {
	word, isText := fields["@level"].(string)
	msg, hasMessage := fields["@message"].(string)
	level := hclog.LevelFromString(word)
	if !isText || !hasMessage || level == hclog.NoLevel {
		return false
	}
	var args []any
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		switch k {
		case "@level", "@message", "@timestamp":
		default:
			args = append(args, k, fields[k])
		}
	}
	s.b.write(level, msg, args)
	return true
}
