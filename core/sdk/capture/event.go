package capture

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says what happened on a line.
type Kind string

// Kinds of events.
const (
	Open   Kind = "open"   // the driver has a connection
	In     Kind = "in"     // the driver has heard Data
	Out    Kind = "out"    // the driver says Data
	Unsent Kind = "unsent" // the last N bytes that it wanted to say did not leave
	End    Kind = "end"    // the instrument has ended the connection
	Close  Kind = "close"  // the driver has closed it
)

// Event is one thing that happened on a line.
type Event struct {
	At   time.Time
	Wire string // the name that the driver gave the line
	Conn int    // number of the connection, from 1
	Kind Kind
	Data []byte // of In and Out
	N    int    // of Unsent
}

// String is the event in a line for a person, in local time: bytes quoted as Go does.
func (e *Event) String() string {
	line := fmt.Sprintf("%s  %s %d  %-6s", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Wire, e.Conn, e.Kind)
	switch {
	case len(e.Data) > 0:
		line += fmt.Sprintf(" %q", e.Data)
	case e.N > 0:
		line += fmt.Sprintf(" %d bytes", e.N)
	}
	return strings.TrimRight(line, " ")
}

// Log is what was read of a capture, in the order in which it was written.
type Log struct {
	Events []Event
	Masked bool // letters and digits were taken out
	Bad    int  // lines that were none, and were left out

	last int // highest number of a connection
}

// ErrFormat is in the chain where a file is no capture.
var ErrFormat = errors.New("it is no capture of hostd")

// Dir is the folder of a device's capture, below its StateDir.
const Dir = "capture"

const (
	magic      = "hostd capture 1 "
	maskedWord = " masked"
	suffix     = ".capture"
	timeForm   = "2006-01-02T15:04:05.000000000Z"
)

// Parse reads one file of a capture. A torn last line is left out.
func Parse(text []byte) (Log, error) {
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	number, ok := strings.CutPrefix(string(head), magic)
	number, masked := strings.CutSuffix(number, maskedWord)
	last, err := strconv.Atoi(number)
	if !ok || err != nil || last < 0 {
		return Log{}, ErrFormat
	}
	l := Log{Masked: masked, last: last}
	for len(rest) > 0 {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			break
		}
		if e, ok := parseLine(line); ok {
			l.Events = append(l.Events, e)
			l.last = max(l.last, e.Conn)
		} else if len(line) > 0 {
			l.Bad++
		}
		rest = more
	}
	return l, nil
}

func parseLine(line []byte) (e Event, ok bool) {
	var f [5][]byte
	n := 0
	for more := true; more; n++ {
		if n == len(f) {
			return e, false
		}
		f[n], line, more = bytes.Cut(line, []byte(" "))
	}
	if n < 4 {
		return e, false
	}
	at, err := time.Parse(timeForm, string(f[0]))
	conn, err2 := strconv.Atoi(string(f[2]))
	if err != nil || err2 != nil || conn < 1 || string(f[1]) != wireName(string(f[1])) {
		return e, false
	}
	e = Event{At: at, Wire: string(f[1]), Conn: conn, Kind: Kind(f[3])}
	switch e.Kind {
	case Open, End, Close:
		return e, n == 4
	case In, Out:
		e.Data = make([]byte, base64.StdEncoding.DecodedLen(len(f[4])))
		d, err := base64.StdEncoding.Strict().Decode(e.Data, f[4])
		e.Data = e.Data[:d]
		return e, err == nil && d > 0
	case Unsent:
		e.N, err = strconv.Atoi(string(f[4]))
		return e, err == nil && e.N > 0
	}
	return e, false
}

func appendHead(b []byte, last int, masked bool) []byte {
	b = strconv.AppendInt(append(b, magic...), int64(last), 10)
	if masked {
		b = append(b, maskedWord...)
	}
	return append(b, '\n')
}

func (e *Event) appendLine(b []byte) []byte {
	b = e.At.UTC().AppendFormat(b, timeForm)
	b = append(append(append(b, ' '), e.Wire...), ' ')
	b = append(append(strconv.AppendInt(b, int64(e.Conn), 10), ' '), e.Kind...)
	switch e.Kind {
	case In, Out:
		b = base64.StdEncoding.AppendEncode(append(b, ' '), e.Data)
	case Unsent:
		b = strconv.AppendInt(append(b, ' '), int64(e.N), 10)
	case Open, End, Close:
	}
	return append(b, '\n')
}

// Text is the log as one file, which Parse reads.
func (l *Log) Text() []byte {
	b := appendHead(nil, l.last, l.Masked)
	for i := range l.Events {
		b = l.Events[i].appendLine(b)
	}
	return b
}

// Of is the log of one connection.
func (l *Log) Of(conn int) Log {
	part := Log{Masked: l.Masked, last: l.last}
	for i := range l.Events {
		if l.Events[i].Conn == conn {
			part.Events = append(part.Events, l.Events[i])
		}
	}
	return part
}

// Conns are the numbers of the connections, in the order in which they began.
func (l *Log) Conns() (list []int) {
	known := map[int]bool{}
	for i := range l.Events {
		if n := l.Events[i].Conn; !known[n] {
			known[n] = true
			list = append(list, n)
		}
	}
	return list
}

// Load reads a capture: the folder of a device, or one file. A folder that is not there is fs.ErrNotExist.
func Load(path string) (Log, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Log{}, fmt.Errorf("read capture: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = partsOf(path); err != nil {
			return Log{}, fmt.Errorf("read capture: %w", err)
		}
	}
	var all Log
	for _, name := range files {
		text, err := os.ReadFile(name)
		if info.IsDir() && errors.Is(err, fs.ErrNotExist) {
			continue // a running driver has dropped it since
		}
		if err != nil {
			return Log{}, fmt.Errorf("read capture: %w", err)
		}
		l, err := Parse(text)
		switch {
		case err != nil && info.IsDir():
			all.Bad++ // torn before its head was whole
			continue
		case err != nil:
			return Log{}, fmt.Errorf("read capture: %w", err)
		}
		all.Events, all.Bad = append(all.Events, l.Events...), all.Bad+l.Bad
		all.Masked, all.last = all.Masked || l.Masked, max(all.last, l.last)
	}
	return all, nil
}

// partsOf gives the files of a capture, oldest first.
func partsOf(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range list {
		if _, ok := partNumber(e.Name()); ok && e.Type().IsRegular() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

// partNumber reads the name of a part: eight digits.
func partNumber(name string) (int, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && partName(n) == name
}

func partName(n int) string { return fmt.Sprintf("%08d%s", n, suffix) }

// wireName is the name with everything that may not stand in a line as "_"; an empty one is "_".
func wireName(name string) string {
	if name == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}, name)
}
