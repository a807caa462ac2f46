package supervise

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"strings"
	"sync"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/hostd/hostd/core/internal/logs"
)

// stderrTail is how much of a plugin's last words is kept, in bytes.
const stderrTail = 2 << 10

// tail keeps the last bytes that are written to it, or those from the beginning of a panic on.
type tail struct {
	mu    sync.Mutex
	buf   []byte // guarded by mu
	head  byte   // guarded by mu: with which the first line of buf began, before its beginning was cut off
	panic bool   // guarded by mu: buf begins with one
}

// Write takes a line, a part of one or a line feed. It never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := len(t.buf) == 0 || t.buf[len(t.buf)-1] == '\n'
	if len(t.buf) == 0 && len(b) > 0 {
		t.head = b[0]
	}
	if fresh && (bytes.HasPrefix(b, []byte("panic: ")) || bytes.HasPrefix(b, []byte("fatal error: "))) {
		t.buf, t.head, t.panic = t.buf[:0], b[0], true
	}
	switch over := len(t.buf) + len(b) - stderrTail; {
	case over <= 0:
		t.buf = append(t.buf, b...)
	case !t.panic:
		t.buf = append(t.buf, b...)
		if at := bytes.LastIndexByte(t.buf[:over], '\n'); at >= 0 {
			t.head = t.buf[at+1]
		}
		t.buf = append(t.buf[:0], t.buf[over:]...)
	default: // the first lines of a panic name it; the stacks of a large plugin would push them out
		t.buf = append(t.buf, b[:max(len(b)-over, 0)]...)
	}
	return len(b), nil
}

// shownWords is how many lines of the last words an error shows.
const shownWords = 10

// String is what is kept, one after the other: of log records the message of errors alone, and a panic without its value.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []string
	var trace logs.Panic
	head := t.head
	for line := range bytes.Lines(t.buf) {
		record := head == '{' || line[0] == '{'
		head = 0
		show, _ := trace.Line(string(bytes.TrimRight(line, "\r\n")))
		if record {
			show = complaint(line)
		}
		if show = strings.TrimSpace(show); show != "" {
			words = append(words, show)
		}
	}
	switch over := len(words) - shownWords; {
	case over <= 0:
	case t.panic: // its first lines name it; the rest is the stack
		words = words[:shownWords]
	default:
		words = words[over:]
	}
	return strings.Join(words, " | ")
}

// complaint is the message of a log record that is an error, and what it says of its cause; else nothing.
func complaint(line []byte) string {
	var r struct {
		Level   string `json:"@level"`
		Message string `json:"@message"`
		Err     string `json:"err"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Level != "error" {
		return "" // it is the end of one whose beginning was not kept, or is in the log
	}
	if cause := cmp.Or(r.Err, r.Error); cause != "" {
		return r.Message + ": " + cause
	}
	return r.Message
}

// lines carries what a plugin prints into its log.
func lines(log hclog.Logger, stream string) io.Writer {
	w := &lineWriter{log: log.With("stream", stream), said: "plugin printed"}
	if stream == "stdout" {
		w.said += " to its standard output, which is the host's: its author must let it log with slog"
	}
	return w
}

// lineWriter takes a stream in parts of any size.
type lineWriter struct {
	log  hclog.Logger
	said string
	line []byte // that is not over: its beginning, at most quoted bytes
}

// Write never fails.
func (w *lineWriter) Write(b []byte) (int, error) {
	for part := range bytes.Lines(b) {
		text, whole := bytes.CutSuffix(part, []byte("\n"))
		w.line = append(w.line, text[:min(len(text), quoted-len(w.line))]...)
		if !whole {
			break
		}
		if text = bytes.TrimSpace(w.line); len(text) > 0 {
			w.log.Warn(w.said, "text", string(text))
		}
		w.line = w.line[:0]
	}
	return len(b), nil
}
