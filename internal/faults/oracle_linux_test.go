package faults

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	_ "modernc.org/sqlite"
)

// oracle holds what arrived against what was sent and acknowledged. It reads only what is new since it last looked, so
// that a long run is looked at again and again.
type oracle struct {
	share   map[string]string // id of each file's record to the file's name
	row     map[string]*lane  // of the database, by device
	line    map[string]*lane  // of the file sink, by device
	shelf   string            // the file sink's folder of attachments: the host's own lets them go when no record in the spool names them
	lastRow int64
	read    map[string]int64 // of the file sink's files, how many bytes are known
	faults  []string

	damaged bool // something on the disk was: what is missing is counted by missing, and is no fault by itself
}

// maxFaults are kept; a broken host has one for each record.
const maxFaults = 20

// lane is what a sink has of one device, in the order in which it came.
type lane struct {
	seq    uint64            // of the newest new record
	last   int64             // number of the newest new record; the numbers have no gap
	hashes []uint64          // of record 1, 2 ...: its data; 0 where it is missing
	ids    map[string]uint64 // of records without a number: hash of their data
}

func newOracle() *oracle {
	return &oracle{share: map[string]string{}, row: map[string]*lane{}, line: map[string]*lane{}, read: map[string]int64{}}
}

var hashSeed = maphash.MakeSeed()

func (o *oracle) fault(format string, args ...any) {
	if len(o.faults) <= maxFaults {
		o.faults = append(o.faults, fmt.Sprintf(format, args...))
	}
}

// sent notes a file that was dropped for the folder device.
func (o *oracle) sent(name string, content []byte) {
	sum := sha256.Sum256(content)
	o.share[hex.EncodeToString(sum[:16])] = name
}

// arrival is one row or line.
type arrival struct {
	where, source, id string
	seq               uint64
	data              []byte
	again             bool // the sink may have it twice
}

func (o *oracle) arrived(lanes map[string]*lane, a *arrival) {
	l := lanes[a.source]
	if l == nil {
		l = &lane{ids: map[string]uint64{}}
		lanes[a.source] = l
	}
	hash := maphash.Bytes(hashSeed, a.data)
	if a.source == "share" {
		o.arrivedFile(l, a, hash)
		return
	}
	n, err := number(a)
	switch {
	case err != nil:
		o.fault("%s: nobody sent %s/%s: %v", a.where, a.source, a.id, err)
	case n <= l.last && !a.again:
		o.fault("%s: %s/%s is there twice", a.where, a.source, a.id)
	case n <= l.last && l.hashes[n-1] != hash:
		o.fault("%s: %s/%s came again with other data", a.where, a.source, a.id)
	case n <= l.last:
	case n != l.last+1:
		if !o.damaged {
			o.fault("%s: %s/%s follows number %d: lost, or out of order", a.where, a.source, a.id, l.last)
		}
		l.hashes = append(l.hashes, make([]uint64, n-l.last-1)...)
		fallthrough
	default:
		o.inOrder(l, a)
		l.hashes, l.last = append(l.hashes, hash), n
	}
}

// missing is how many of the lane's records up to the number are not there.
func (l *lane) missing(last int64) (n int64) {
	if l == nil {
		return last
	}
	for _, hash := range l.hashes {
		if hash == 0 {
			n++
		}
	}
	return n + max(0, last-l.last)
}

func (o *oracle) arrivedFile(l *lane, a *arrival, hash uint64) {
	before, known := l.ids[a.id]
	switch {
	case o.share[a.id] == "":
		o.fault("%s: nobody sent %s/%s", a.where, a.source, a.id)
	case known && !a.again:
		o.fault("%s: %s/%s is there twice", a.where, a.source, a.id)
	case known && before != hash:
		o.fault("%s: %s/%s came again with other data", a.where, a.source, a.id)
	case !known:
		o.inOrder(l, a)
		l.ids[a.id] = hash
	}
}

func (o *oracle) inOrder(l *lane, a *arrival) {
	if a.seq <= l.seq {
		o.fault("%s: %s/%s has seq %d and follows %d", a.where, a.source, a.id, a.seq, l.seq)
	}
	l.seq = a.seq
}

// number is the record's, after its content was found to be the one that belongs to it.
func number(a *arrival) (int64, error) {
	text, ok := strings.CutPrefix(a.id, a.source+"-")
	witness := slices.Contains(witnesses, a.source)
	if !witness {
		text, ok = strings.CutPrefix(a.id, a.source+"-1-") // the generator's, with its seed
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || n < 1 {
		return 0, errors.New("no number in its id")
	}
	if !witness {
		return n, nil
	}
	if len(a.data) == 0 {
		return 0, errors.New("there are no data")
	}
	parts := bytes.SplitN(a.data, []byte("|"), 3)
	if len(parts) != 3 || string(parts[0]) != text {
		return 0, errors.New("the data are another record's")
	}
	if sum := sha256.Sum256(parts[2]); hex.EncodeToString(sum[:]) != string(parts[1]) {
		return 0, errors.New("the data are damaged")
	}
	return n, nil
}

// rows reads what is new in the shipped schema's table of records.
func (o *oracle) rows(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := db.QueryContext(ctx, `SELECT r.id, r.source, r.record_id, r.seq, r.data, coalesce(a.hash, '') FROM record r
		LEFT JOIN attachment a ON a.source = r.source AND a.record_id = r.record_id AND a.role = 'data' WHERE r.id > ? ORDER BY r.id`, o.lastRow)
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	defer list.Close()
	for list.Next() {
		a := arrival{where: "database"}
		var hash string
		if err := list.Scan(&o.lastRow, &a.source, &a.id, &a.seq, &a.data, &hash); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		if a.data == nil && hash != "" {
			a.data = o.attached(hash, filepath.Join(filepath.Dir(path), "blobs"), o.shelf)
		}
		o.arrived(o.row, &a)
	}
	return list.Err()
}

// lines reads what is new in the file sink's folder.
func (o *oracle) lines(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "hostd-*.ndjson"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, path := range files {
		if err := o.linesOf(path); err != nil {
			return err
		}
	}
	return nil
}

func (o *oracle) linesOf(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(o.read[path], io.SeekStart); err != nil {
		return err
	}
	for in := bufio.NewReaderSize(f, 1<<20); ; {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(text) > 0 {
				o.fault("%s ends without a newline", filepath.Base(path))
			}
			return nil
		}
		if err != nil {
			return err
		}
		o.read[path] += int64(len(text))
		var r struct {
			ID, Device  string
			Seq         uint64
			Data        json.RawMessage
			Attachments []struct{ Hash, Role string }
		}
		if err := json.Unmarshal(text, &r); err != nil {
			o.fault("%s has a line that is none: %v", filepath.Base(path), err)
			continue
		}
		var plain string
		if json.Unmarshal(r.Data, &plain) == nil {
			r.Data = []byte(plain)
		}
		if len(r.Attachments) == 1 && r.Attachments[0].Role == "data" {
			r.Data = o.attached(r.Attachments[0].Hash, filepath.Join(filepath.Dir(path), "attachments"))
		}
		o.arrived(o.line, &arrival{where: filepath.Base(path), source: r.Device, id: r.ID, seq: r.Seq, data: r.Data, again: true})
	}
}

// attached gives what was moved out of a record, from the first of folders that has it by its hash; nil where it is lost.
func (o *oracle) attached(hash string, dirs ...string) (text []byte) {
	if len(hash) != 2*sha256.Size {
		o.fault("attachment %q has no hash", hash)
		return nil
	}
	err := os.ErrNotExist
	for _, dir := range dirs {
		if errors.Is(err, os.ErrNotExist) {
			text, err = os.ReadFile(filepath.Join(dir, hash[:2], hash))
		}
	}
	if err != nil {
		o.fault("attachment: %v", err)
		return nil
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != hash {
		o.fault("attachment %s holds something else", hash)
	}
	return text
}

// witnesses are the names of devices that are one. Each has its journal.
var witnesses = []string{"wit", "calm"}

// complete holds that all that was acknowledged is in the lanes: each witness's records by its journal, and the files
// that were put away.
func (o *oracle) complete(where string, lanes map[string]*lane, told map[string]int64, away []string) {
	for _, name := range witnesses {
		if l, n := lanes[name], told[name]; n > 0 && (l == nil || l.last < n) {
			o.fault("%s: the witness %s was told that %d records are safe, %+v is there", where, name, n, l)
		}
	}
	names := map[string]string{}
	for id, name := range o.share {
		names[name] = id
	}
	for _, name := range away {
		if l := lanes["share"]; l == nil || l.ids[names[name]] == 0 {
			o.fault("%s: file %s was put away, its record is lost", where, name)
		}
	}
}

// journal reads what the witness was told: the number of the last safe record, and faults that it saw itself.
func (o *oracle) journal(path string) (told int64, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if at, ok := strings.CutPrefix(line, "forgotten "); ok {
			o.fault("the host's position of the witness is %s, it was told %d", at, told)
			continue
		}
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("journal: %w", err)
		}
		if n < told {
			o.fault("the witness was told %d after %d", n, told)
		}
		told = max(told, n)
	}
	return told, nil
}

// verdict looks at everything that is new, and gives what wit was told. The host does not run, or has nothing to do.
func (o *oracle) verdict(c *clinic) (told int64) {
	c.t.Helper()
	o.shelf = filepath.Join(c.archive, "attachments")
	all := map[string]int64{}
	var errs []error
	for _, name := range witnesses {
		n, err := o.journal(c.path(name + ".journal"))
		all[name], errs = n, append(errs, err)
	}
	errs = append(errs, o.rows(c.t.Context(), filepath.Join(c.data, "hostd.db")), o.lines(c.archive))
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
	away := c.names("in/done")
	o.complete("database", o.row, all, away)
	o.complete("files", o.line, all, away)
	if failed := c.names("in/failed"); len(failed) > 0 {
		o.fault("files were refused: %v", failed)
	}
	if len(o.faults) > 0 {
		c.t.Fatalf("%d faults or more:\n%s", len(o.faults), strings.Join(o.faults, "\n"))
	}
	return all["wit"]
}

// names are those of the files in a folder of the clinic.
func (c *clinic) names(dir string) (list []string) {
	entries, err := os.ReadDir(c.path(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			list = append(list, e.Name())
		}
	}
	return list
}
