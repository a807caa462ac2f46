package capture

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	mostData = 32 << 10 // bytes in a line
	shares   = 8        // parts that a capture has room for
)

// Recorder writes the capture of one device. Its files are opened with the first event. A write that fails is logged once,
// and is the recorder's last.
type Recorder struct {
	dir string
	max int64
	log *slog.Logger

	mu    sync.Mutex // guards all below
	file  *os.File   // the newest part, which is written
	parts []part     // oldest first
	conns int        // highest number of a connection
	over  bool       // closed or failed
	line  []byte
}

// part is one file and how long it is.
type part struct {
	number int
	size   int64
}

// NewRecorder makes a recorder of the folder's capture, which has at most so many bytes, and 1 MiB at least.
func NewRecorder(dir string, most int64, log *slog.Logger) *Recorder {
	return &Recorder{dir: dir, max: max(most, 1<<20), log: log}
}

// Wrap gives conn as the driver is to use it: what is read, written and closed goes into the capture under the name of the
// line. Deadlines are set on conn itself.
func (r *Recorder) Wrap(wire string, conn io.ReadWriteCloser) io.ReadWriteCloser {
	c := &tapped{ReadWriteCloser: conn, r: r, wire: wireName(wire)}
	open := Event{Kind: Open, Wire: c.wire}
	r.note(&open)
	c.number = open.Conn
	return c
}

// Close ends the capture; connections that are still open are not captured any more.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// note writes an event. An Open gets its number.
func (r *Recorder) note(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	if err := r.write(e); err != nil {
		r.over = true
		if r.file != nil {
			r.file.Close()
			r.file = nil
		}
		r.log.Error("the capture cannot be written: the device goes on without it until it is opened again", "err", err)
	}
}

// write appends the event, in the next part where this one is full.
func (r *Recorder) write(e *Event) error {
	if r.file == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	if e.Kind == Open {
		r.conns++
		e.Conn = r.conns
	}
	e.At = time.Now()
	r.line = e.appendLine(r.line[:0])
	if r.newest().size+int64(len(r.line)) > r.max/shares {
		if err := r.next(); err != nil {
			return err
		}
	}
	return r.append(r.line)
}

func (r *Recorder) newest() *part { return &r.parts[len(r.parts)-1] }

func (r *Recorder) append(b []byte) error {
	n, err := r.file.Write(b)
	r.newest().size += int64(n)
	return err
}

// open goes on with the newest part that a process before has left, or begins the first one.
func (r *Recorder) open() error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	files, err := partsOf(r.dir)
	if err != nil {
		return err
	}
	r.parts = nil
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		number, _ := partNumber(filepath.Base(name))
		r.parts = append(r.parts, part{number, info.Size()})
	}
	if len(files) == 0 {
		return r.next()
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return err
	}
	l, err := Parse(text)
	if err != nil {
		// Its head was torn. The numbers of the connections go on behind those of the part before.
		if before, err := Load(r.dir); err == nil {
			r.conns = before.last
		}
		return r.next()
	}
	r.conns = l.last
	if r.file, err = os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if text[len(text)-1] != '\n' {
		return r.append([]byte{'\n'})
	}
	return nil
}

// next begins another part, and makes room for it first.
func (r *Recorder) next() error {
	if r.file != nil {
		if err := r.file.Close(); err != nil {
			return err
		}
		r.file = nil
	}
	total := int64(0)
	for _, p := range r.parts {
		total += p.size
	}
	number := 1
	if len(r.parts) > 0 {
		number = r.newest().number + 1
	}
	for len(r.parts) > 0 && total > r.max-r.max/shares {
		if err := os.Remove(filepath.Join(r.dir, partName(r.parts[0].number))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		total -= r.parts[0].size
		r.parts = r.parts[1:]
	}
	f, err := os.OpenFile(filepath.Join(r.dir, partName(number)), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	r.file, r.parts = f, append(r.parts, part{number: number})
	return r.append(appendHead(nil, r.conns, false))
}

// tapped is a connection whose bytes are kept.
type tapped struct {
	io.ReadWriteCloser
	r       *Recorder
	wire    string
	number  int
	ended   atomic.Bool
	closing atomic.Bool
}

func (c *tapped) note(e Event) {
	e.Wire, e.Conn = c.wire, c.number
	c.r.note(&e)
}

// pieces notes bytes in lines of mostData.
func (c *tapped) pieces(kind Kind, p []byte) {
	for len(p) > 0 {
		n := min(len(p), mostData)
		c.note(Event{Kind: kind, Data: p[:n]})
		p = p[n:]
	}
}

// Read hears the instrument.
func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.pieces(In, p[:n])
	if errors.Is(err, io.EOF) && c.ended.CompareAndSwap(false, true) {
		c.note(Event{Kind: End})
	}
	return n, err
}

// Write speaks to the instrument. It is noted first: an answer must not stand before what it answers.
func (c *tapped) Write(p []byte) (int, error) {
	c.pieces(Out, p)
	n, err := c.ReadWriteCloser.Write(p)
	if n < len(p) {
		c.note(Event{Kind: Unsent, N: len(p) - n})
	}
	return n, err
}

// Close closes the connection.
func (c *tapped) Close() error {
	if c.closing.CompareAndSwap(false, true) {
		c.note(Event{Kind: Close})
	}
	return c.ReadWriteCloser.Close()
}
