package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/logs"
)

// console takes the host's log.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

// Write takes a line.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// logged gives the rig the host's own log.
func (r *rig) logged(t *testing.T) (*logs.Logs, *console) {
	t.Helper()
	out := &console{}
	l, err := logs.Open(config.Logging{Level: "info", Format: "text"}, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	r.program.Log = l.Plugin(l.Logger("device").With("device", "ark-1"))
	return l, out
}

// A plugin that logs without measure does its work meanwhile; each of its lines is in the log, or counted in the one line
// that tells of those that are not.
func TestFloodOfLogLines(t *testing.T) {
	t.Parallel()
	flood := 200_000
	if testing.Short() {
		flood = 20_000
	}
	r := newRig(t, "plugin", fmt.Sprintf(`{"mode":"logs","batches":5,"lines":%d}`, flood))
	l, out := r.logged(t)
	r.run(t)
	until(t, "ack 5", func() bool { return strings.Contains(r.heard(), "ack 5\n") })
	until(t, "end of the flood", func() bool {
		_, err := os.Stat(filepath.Join(r.Open.StateDir, "logged"))
		return err == nil
	})
	var shown, dropped int
	until(t, "all lines accounted for", func() bool {
		l.TellDropped()
		text := out.String()
		shown, dropped = strings.Count(text, "msg=flood"), 0
		for part := range strings.SplitSeq(text, "lines were dropped") {
			var n int
			if _, err := fmt.Sscanf(part, `" component=device device=ark-1 dropped=%d`, &n); err == nil {
				dropped += n
			}
		}
		return shown+dropped >= flood
	})
	if shown+dropped != flood || shown > flood/2 {
		t.Errorf("%d lines shown and %d dropped of %d", shown, dropped, flood)
	}
	t.Logf("%d lines shown, %d dropped", shown, dropped)
}

// What a plugin prints behind its handshake, in lines of any length, also past the stream that go-plugin reads, does not
// block it.
func TestPrintingDoesNotBlock(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"mode":"prints","batches":3}`)
	_, out := r.logged(t)
	w := r.run(t)
	until(t, "ack 3", func() bool { return strings.Contains(r.heard(), "ack 3\n") })
	until(t, "both streams", func() bool {
		return strings.Contains(out.String(), "the end") && strings.Count(out.String(), strings.Repeat("z", quoted)) == 2
	})
	for line := range strings.Lines(out.String()) {
		if len(line) > 2*quoted {
			t.Errorf("a line of %d bytes in the log", len(line))
		}
	}
	if s := w.Status(); s.State != Up || s.Restarts > 0 {
		t.Errorf("status %+v", s)
	}
}

// Go-plugin reads the first line, whatever the parts in which it arrives, and nothing of the others.
func TestHandshakeIsTheFirstLine(t *testing.T) {
	long := strings.Repeat("x", 3*longestHandshake)
	for _, c := range []struct{ stream, first, rest string }{
		{"1|1|unix|s|grpc|\nmore\nand more", "1|1|unix|s|grpc|\n", "more\nand more"},
		{"1|1|unix|s|grpc|", "1|1|unix|s|grpc|", ""},
		{"", "", ""},
		{"\n\n", "\n", "\n"},
	} {
		for _, size := range []int{1, 3, 4096} {
			var rest bytes.Buffer
			h := &handshake{ReadCloser: io.NopCloser(strings.NewReader(c.stream)), rest: &rest}
			first, err := io.ReadAll(&parts{h, size})
			if err != nil || string(first) != c.first || rest.String() != c.rest {
				t.Errorf("%q in parts of %d: first %q, rest %q, %v", c.stream, size, first, rest.String(), err)
			}
		}
	}
	h := &handshake{ReadCloser: io.NopCloser(strings.NewReader(long)), rest: io.Discard}
	first, err := io.ReadAll(h)
	if err != nil || len(first) > 2*longestHandshake || first[len(first)-1] != '\n' {
		t.Errorf("%d bytes of a line without end, %v", len(first), err)
	}
}

// parts reads at most size bytes at once.
type parts struct {
	io.Reader
	size int
}

// Read is io.Reader's.
func (p *parts) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

func TestLastWords(t *testing.T) {
	for _, c := range []struct{ name, stderr, want string }{
		{"the last lines", strings.Repeat("early\n", 20) + "late\n", strings.Repeat("early | ", 9) + "late"},
		{"errors of the log", `{"@level":"info","@message":"reads"}` + "\n" + `{"@level":"error","@message":"no licence","err":"the dongle is away"}` + "\n", "no licence: the dongle is away"},
		{"a record whose beginning is gone", `{"@level":"info","@message":"` + strings.Repeat("a", 2*stderrTail) + `","x":1}` + "\nlate\n", "late"},
		{"a line that is none", "{no json\nlate\n", "late"},
	} {
		keep := &tail{}
		for line := range strings.Lines(c.stderr) {
			fmt.Fprint(keep, strings.TrimSuffix(line, "\n"))
			fmt.Fprint(keep, "\n")
		}
		if got := keep.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
