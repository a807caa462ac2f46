package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tally is what stands in the files of a file sink.
type tally struct {
	lines    int
	ids      map[string]struct{} // device and id
	disorder int                 // lines whose running number is not above the last one of their device
	last     map[string]int64
	first    time.Time // when the host stored the record of the first line
	newest   time.Time // and that of the last one
	tail     []byte    // the last line
}

// row is what a line must have.
type row struct {
	ID       string    `json:"id"`
	Device   string    `json:"device"`
	Received time.Time `json:"received_at"`
}

// everyNth line is read by encoding/json, and must say what the quick look says.
const everyNth = 1000

var errLine = errors.New("line is not a record")

// count reads all files of the folder in the order of their names.
func count(dir string) (*tally, error) {
	t := &tally{ids: map[string]struct{}{}, last: map[string]int64{}}
	names, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, n := range names {
		f, err := os.Open(n)
		if err != nil {
			return nil, err
		}
		err = errors.Join(t.read(f), f.Close())
		if err != nil {
			return nil, fmt.Errorf("count %s: %w", filepath.Base(n), err)
		}
	}
	if t.lines == 0 {
		return t, nil
	}
	var r row
	if err := json.Unmarshal(t.tail, &r); err != nil {
		return nil, fmt.Errorf("%w: last line: %w", errLine, err)
	}
	t.newest = r.Received
	return t, nil
}

func (t *tally) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", errLine, t.lines+1, err) // torn, or longer than any that we make
		}
		if err := t.line(line); err != nil {
			return fmt.Errorf("%w: line %d: %w", errLine, t.lines+1, err)
		}
		t.lines++
		t.tail = append(t.tail[:0], line...)
	}
}

func (t *tally) line(b []byte) error {
	id, device, err := quick(b)
	if err != nil {
		return err
	}
	if t.lines%everyNth == 0 {
		var r row
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.ID != id || r.Device != device {
			return errors.New("encoding/json reads another id or device")
		}
		if t.lines == 0 {
			t.first = r.Received
		}
	}
	_, number, ok := cutLast(id, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return errors.New("id has no running number")
	}
	if n <= t.last[device] {
		t.disorder++
	}
	t.last[device] = n
	t.ids[device+"\x00"+id] = struct{}{}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// quick reads the two first fields, which our file sink writes first and our ids need no escape in.
func quick(b []byte) (id, device string, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(`{"id":"`))
	i, more, ok2 := bytes.Cut(rest, []byte(`","device":"`))
	d, _, ok3 := bytes.Cut(more, []byte(`"`))
	if !ok || !ok2 || !ok3 || bytes.IndexByte(i, '\\') >= 0 {
		return "", "", errors.New("it does not begin with id and device")
	}
	return string(i), string(d), nil
}

// exact says what is wrong with the files, where they are to hold the records 1 to n of one device once and in order.
func (t *tally) exact(n int) error {
	highest := int64(0)
	for _, l := range t.last {
		highest = max(highest, l)
	}
	if t.lines != n || len(t.ids) != n || t.disorder != 0 || highest != int64(n) || len(t.last) != 1 {
		return fmt.Errorf("%d lines of %d devices with %d distinct ids up to number %d, %d out of order; want %d of one device",
			t.lines, len(t.last), len(t.ids), highest, t.disorder, n)
	}
	return nil
}

func TestTally(t *testing.T) {
	line := func(device string, n int) string {
		return fmt.Sprintf("{\"id\":\"%s-1-%d\",\"device\":\"%s\",\"kind\":\"exam\",\"received_at\":\"2026-01-02T03:04:05Z\",\"data\":{}}\n", device, n, device)
	}
	for name, c := range map[string]struct {
		text  string
		exact bool
		err   error
	}{
		"exact":       {text: line("a", 1) + line("a", 2) + line("a", 3), exact: true},
		"devices":     {text: line("a", 1) + line("b", 1) + line("a", 3)},
		"gap":         {text: line("a", 1) + line("a", 2) + line("a", 4)},
		"twice":       {text: line("a", 1) + line("a", 2) + line("a", 2)},
		"order":       {text: line("a", 2) + line("a", 1) + line("a", 3)},
		"one missing": {text: line("a", 1) + line("a", 3)},
		"one more":    {text: line("a", 1) + line("a", 2) + line("a", 3) + line("a", 4)},
		"torn":        {text: line("a", 1) + line("a", 2) + line("a", 3)[:20], err: errLine},
		"no newline":  {text: line("a", 1) + line("a", 2) + strings.TrimSpace(line("a", 3)), err: errLine},
		"not JSON":    {text: strings.Replace(line("a", 1), "{}", "}", 1), err: errLine},
		"other field": {text: strings.Replace(line("a", 1), "id", "ID", 1), err: errLine},
		"two ids":     {text: strings.Replace(line("a", 1), `"data"`, `"id":"a-1-2","data"`, 1), err: errLine},
		"no number":   {text: strings.Replace(line("a", 1), "a-1-1", "a", 1), err: errLine},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "hostd-1.ndjson"), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := count(dir)
			if !errors.Is(err, c.err) {
				t.Fatalf("count: %v, want %v", err, c.err)
			}
			if err == nil && (got.exact(3) == nil) != c.exact {
				t.Errorf("exact: %v, want exact %v", got.exact(3), c.exact)
			}
		})
	}
}

// TestTallyOrder holds that a device's order goes on from file to file.
func TestTallyOrder(t *testing.T) {
	dir := t.TempDir()
	for i, n := range []int{2, 1} {
		text := fmt.Sprintf("{\"id\":\"a-%d\",\"device\":\"a\",\"received_at\":\"2026-01-02T03:04:0%dZ\"}\n", n, i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.ndjson", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := count(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.disorder != 1 || got.lines != 2 || len(got.ids) != 2 {
		t.Errorf("%+v", got)
	}
}

// quantile of sorted values: the smallest one that at least this part of them does not exceed.
func quantile(sorted []time.Duration, part float64) time.Duration {
	i := int(part*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func TestQuantile(t *testing.T) {
	var list []time.Duration
	for i := range 500 {
		list = append(list, time.Duration(i+1))
	}
	for part, want := range map[float64]time.Duration{0: 1, 0.5: 250, 0.99: 495, 1: 500} {
		if got := quantile(list, part); got != want {
			t.Errorf("quantile %v is %d, want %d", part, got, want)
		}
	}
}
