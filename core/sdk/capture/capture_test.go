package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/sdk/capture"
)

// line is a connection whose instrument says in, and which breaks when so many bytes were written.
type line struct {
	in     io.Reader
	room   int
	closed int
}

func (l *line) Read(p []byte) (int, error) { return l.in.Read(p) }

func (l *line) Write(p []byte) (int, error) {
	if len(p) > l.room {
		return l.room, errors.New("unplugged")
	}
	l.room -= len(p)
	return len(p), nil
}

func (l *line) Close() error { l.closed++; return nil }

func recorder(t *testing.T, dir string, log *bytes.Buffer) *capture.Recorder {
	t.Helper()
	r := capture.NewRecorder(dir, 0, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { r.Close() })
	return r
}

// told is the events without their times.
func told(l capture.Log) (list []string) {
	for _, e := range l.Events {
		text := fmt.Sprintf("%s %d %s", e.Wire, e.Conn, e.Kind)
		switch {
		case len(e.Data) > 0:
			text += fmt.Sprintf(" %q", e.Data)
		case e.N > 0:
			text += fmt.Sprintf(" %d", e.N)
		}
		list = append(list, text)
	}
	return list
}

func load(t *testing.T, path string) capture.Log {
	t.Helper()
	l, err := capture.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func want(t *testing.T, l capture.Log, lines ...string) {
	t.Helper()
	if got := told(l); !slices.Equal(got, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "capture")
	var log bytes.Buffer
	r := recorder(t, dir, &log)
	own := &line{in: strings.NewReader("\x02exam\x03"), room: 4}
	conn := r.Wrap("port 1", own)
	if text, err := io.ReadAll(conn); string(text) != "\x02exam\x03" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if n, err := conn.Write([]byte("\x06")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := conn.Write([]byte("too long")); n != 3 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	r.Wrap("", &line{}).Close()
	if err := r.Close(); err != nil || own.closed != 2 || log.Len() > 0 {
		t.Errorf("%v, closed %d times, log %s", err, own.closed, log.String())
	}
	l := load(t, dir)
	want(t, l, "port_1 1 open", `port_1 1 in "\x02exam\x03"`, "port_1 1 end", `port_1 1 out "\x06"`, `port_1 1 out "too long"`, "port_1 1 unsent 5",
		"port_1 1 close", "_ 2 open", "_ 2 close")
	for i, e := range l.Events[1:] {
		if e.At.Before(l.Events[i].At) {
			t.Errorf("%v after %v", e.At, l.Events[i].At)
		}
	}
	if again, err := capture.Parse(l.Text()); err != nil || fmt.Sprint(again) != fmt.Sprint(l) {
		t.Errorf("%v\n%v\n%v", err, again, l)
	}
	if fmt.Sprint(l.Conns()) != "[1 2]" {
		t.Error(l.Conns())
	}
	want(t, l.Of(2), "_ 2 open", "_ 2 close")
	if runtime.GOOS == "windows" {
		return
	}
	for name, mode := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, "00000001.capture"): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestBound holds that a capture never has more than its share of the disk, and what is dropped is the oldest.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	r := recorder(t, dir, &log)
	conn := r.Wrap("port", &line{room: 1 << 30})
	said := 0
	for range 300 {
		said++
		if _, err := conn.Write(bytes.Repeat([]byte{byte(said)}, 10_000)); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			if total += info.Size(); info.Size() > 1<<20/8 {
				t.Fatalf("a part of %d bytes", info.Size())
			}
		}
		if total > 1<<20 {
			t.Fatalf("%d bytes", total)
		}
	}
	events := load(t, dir).Events
	if n := len(events); n < 60 || events[n-1].Data[0] != byte(said%256) {
		t.Errorf("%d pieces are left", n)
	}
	for i, e := range events {
		if e.Data[0] != byte(said-len(events)+1+i) {
			t.Fatalf("piece %d is missing or not in its order", i)
		}
	}
	big := make([]byte, 3<<20) // more than all of it
	if n, err := conn.Write(big); n != len(big) || err != nil || log.Len() > 0 {
		t.Errorf("%d, %v, log %s", n, err, log.String())
	}
}

// TestGoesOn is of what another process left: numbers go on, a torn line is left out and ended, a torn head likewise.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	session := func() {
		r := recorder(t, dir, &log)
		r.Wrap("port", &line{}).Close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	session()
	first := filepath.Join(dir, "00000001.capture")
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < 20; cut++ {
		if err := os.WriteFile(first, text[:len(text)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, load(t, dir), "port 1 open")
	}
	session()
	if l := load(t, dir); l.Bad != 1 {
		t.Errorf("%d bad lines", l.Bad)
	}
	want(t, load(t, dir), "port 1 open", "port 2 open", "port 2 close")
	if err := os.WriteFile(filepath.Join(dir, "00000002.capture"), []byte("hostd cap"), 0o600); err != nil {
		t.Fatal(err)
	}
	session()
	want(t, load(t, dir), "port 1 open", "port 2 open", "port 2 close", "port 3 open", "port 3 close")
	if files, err := filepath.Glob(filepath.Join(dir, "*")); len(files) != 3 || err != nil || log.Len() > 0 {
		t.Errorf("%v, %v, log %s", files, err, log.String())
	}
}

// TestFailure holds that a capture which cannot be written stops nothing, and is told once.
func TestFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := recorder(t, filepath.Join(file, "capture"), &log)
	for range 3 {
		conn := r.Wrap("port", &line{in: strings.NewReader("exam"), room: 10})
		if text, err := io.ReadAll(conn); string(text) != "exam" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := conn.Write([]byte("ok")); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "the capture cannot be written"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
}

// TestConnections has many at once: each one's bytes are whole and in order.
func TestConnections(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	r := recorder(t, dir, &log)
	var all sync.WaitGroup
	for i := range 8 {
		text := strings.Repeat(fmt.Sprintf("<%d>", i), 500)
		all.Go(func() {
			conn := r.Wrap("port", &line{in: strings.NewReader(text), room: len(text)})
			var both sync.WaitGroup
			both.Go(func() { io.Copy(io.Discard, struct{ io.Reader }{conn}) })
			both.Go(func() { conn.Write([]byte(text)) })
			both.Wait()
			conn.Close()
		})
	}
	all.Wait()
	l := load(t, dir)
	if n := len(l.Conns()); n != 8 {
		t.Fatalf("%d connections", n)
	}
	for _, n := range l.Conns() {
		said := map[capture.Kind]string{}
		for _, e := range l.Of(n).Events {
			said[e.Kind] += string(e.Data)
		}
		if said[capture.In] == "" || said[capture.In] != said[capture.Out] {
			t.Errorf("connection %d: %v", n, said)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := capture.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, text := range []string{"", "x\n", "hostd capture 2 0\n", "hostd capture 1 -1\n", "hostd capture 1\n"} {
		file := filepath.Join(t.TempDir(), "x.capture")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := capture.Load(file); !errors.Is(err, capture.ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParse(t *testing.T) {
	const at = "2026-03-01T08:15:00.100000000Z "
	l, err := capture.Parse([]byte("hostd capture 1 4 masked\n" + at + "a 1 in AA==\n" + at + "a 9 unsent 3\n\n" +
		at + "a 1 in\n" + at + "a 1 in \n" + at + "a 1 in AA\n" + at + "a 0 open\n" + at + "a 1 open x\n" + at + "a b 1 open\n" + at + "a 1 unsent 0\n" +
		at + "a 1 other\n" + at + "ä 1 open\n" + "yesterday a 1 open\n" + "x\n"))
	if err != nil || !l.Masked || l.Bad != 11 {
		t.Errorf("%v, %+v", err, l)
	}
	want(t, l, `a 1 in "\x00"`, "a 9 unsent 3")
	if head, _, _ := strings.Cut(string(l.Text()), "\n"); head != "hostd capture 1 9 masked" {
		t.Error(head)
	}
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\x02P|1||S-0042||Muster^Anna\r\x03A7\r\n", "\x02x|9||x-9999||xxxxxx^xxxx\r\x03x9\r\n"},
		{"김철수|1980", "xxxxxxxxx|9999"},
		{"é|", "xx|"},
		{"\xb1\xe8\xc3\xb6|7", "xxxx|9"},       // code page 949
		{"\x83\x5c\x83\x7c=7", "xxxx=9"},       // Shift-JIS, whose second bytes are \ and |
		{"A\x00B\x001\x00", "x\x00x\x009\x00"}, // UTF-16
		{"", ""},
	} {
		if got := string(capture.Mask([]byte(c.text))); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
		for cut := range len(c.text) { // in two pieces it is the same
			l := capture.Log{Events: []capture.Event{
				{Conn: 1, Kind: capture.In, Data: []byte(c.text[:cut])},
				{Conn: 2, Kind: capture.In, Data: []byte("x")},
				{Conn: 1, Kind: capture.Out, Data: []byte("x")},
				{Conn: 1, Kind: capture.In, Data: []byte(c.text[cut:])},
			}}
			m := l.Mask()
			if got := string(m.Events[0].Data) + string(m.Events[3].Data); got != c.want || !m.Masked || string(l.Events[3].Data) != c.text[cut:] {
				t.Errorf("%q cut at %d: %q, want %q", c.text, cut, got, c.want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("hostd capture 1 4 masked\n2026-03-01T08:15:00.100000000Z a 1 in AA==\n2026-03-01T08:15:00.100000000Z a 9 unsent 3\n"))
	f.Add([]byte("hostd capture 1 0\n2026-03-01T08:15:00.100000000Z a 1 open\n2026-03-01T08:15:00.100000000Z a 1 out Bg==\n2026"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var l capture.Log
		var err error
		limit := 8*uint64(len(text)) + 1<<20 // an event has more bytes than its line
		if n := examtest.Allocated(limit, func() { l, err = capture.Parse(text) }); n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(text))
		}
		if err != nil {
			return
		}
		again, err := capture.Parse(l.Text())
		if err != nil || again.Bad != 0 || !slices.Equal(told(again), told(l)) {
			t.Fatalf("%v: %v became %v", err, told(l), told(again))
		}
		m := l.Mask()
		for i, e := range m.Events {
			if len(e.Data) != len(l.Events[i].Data) || bytes.ContainsFunc(e.Data, func(r rune) bool {
				return r > 0x7f || r >= '0' && r < '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' && r != 'x'
			}) {
				t.Fatalf("%q is masked as %q", l.Events[i].Data, e.Data)
			}
		}
	})
}
