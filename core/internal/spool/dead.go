package spool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	deadDir     = "dead"
	deadSize    = 16 << 20 // bytes after which a new file is begun
	maxReason   = 4 << 10  // bytes of a reason; a longer one is cut
	deadSuffix  = ".dead"
	deadPattern = "%010d-%08x" + deadSuffix
)

// DeadLetter is a record that a sink will not get, kept until an operator decides. Its payload is a frame of kind
// kindDead: attempts, sink, device and reason, each with its length, then the record.
type DeadLetter struct {
	Sink     string
	Device   string
	Seq      uint64    // of the record
	Received time.Time // when the record was put on the disk
	Died     time.Time // when it was given up
	Attempts int
	Reason   string // no patient data
	Payload  []byte // the record; it belongs to the caller
}

// deadFile is one file of dead letters; end is where its good frames end.
type deadFile struct {
	name string
	salt uint32
	end  int64
}

// deadLog appends dead letters to its own files, each synced before anybody is told.
type deadLog struct {
	dir  string
	disk disk
	log  *slog.Logger
	bad  *quarantine

	mu    sync.Mutex
	files []deadFile                     // guarded by mu: oldest first
	cur   file                           // guarded by mu: the last of files, nil when the next letter begins a new one
	top   uint32                         // guarded by mu: highest number
	count map[string]uint64              // guarded by mu: letters by sink
	again map[string]map[uint64]struct{} // guarded by mu: letters whose records were not settled when the spool was opened
	buf   []byte                         // guarded by mu
}

// open counts the letters that are there.
func (d *deadLog) open(s *Spool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir, d.disk, d.log, d.bad = filepath.Join(s.dir, deadDir), s.disk, s.log, &s.bad
	d.count, d.again = map[string]uint64{}, map[string]map[uint64]struct{}{}
	cursors := map[string]uint64{}
	for _, k := range s.sinks {
		cursors[k.name] = k.cursor
	}
	infos, err := d.disk.dirs.List(d.dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := d.load(info, cursors); err != nil {
			return err
		}
	}
	return nil
}

func (d *deadLog) load(info fs.FileInfo, cursors map[string]uint64) error {
	var num uint32
	f := deadFile{name: info.Name(), end: info.Size()}
	if n, err := fmt.Sscanf(f.name, deadPattern, &num, &f.salt); err != nil || n != 2 || !strings.HasSuffix(f.name, deadSuffix) {
		return nil
	}
	d.top = max(d.top, num)
	d.files = append(d.files, f)
	err := d.scan(f, func(l *DeadLetter) bool {
		d.count[l.Sink]++
		if l.Seq > cursors[l.Sink] {
			d.remember(l.Sink, l.Seq)
		}
		return true
	})
	if err != nil {
		d.log.Error("dead letters not readable", "file", f.name, "err", err)
	}
	return nil
}

func (d *deadLog) remember(sink string, seq uint64) {
	if d.again[sink] == nil {
		d.again[sink] = map[uint64]struct{}{}
	}
	d.again[sink][seq] = struct{}{}
}

// scan calls yield with each good letter of the file until it returns false.
func (d *deadLog) scan(f deadFile, yield func(*DeadLetter) bool) error {
	src, err := d.disk.Open(filepath.Join(d.dir, f.name), os.O_RDONLY)
	if err != nil {
		return err
	}
	c := scanner{src: src, salt: f.salt, end: f.end}
	c.bad = func(b span) {
		if b.to < f.end || !c.short { // a torn end was never acknowledged
			d.bad.take(src, f.name, b)
		}
	}
	for {
		fr, ok, err := c.next()
		if err != nil || !ok {
			return errors.Join(err, src.Close())
		}
		if l, ok := decodeDead(&fr); ok && !yield(l) {
			return src.Close()
		}
	}
}

func decodeDead(f *frame) (*DeadLetter, bool) {
	r := reading{b: f.payload}
	l := &DeadLetter{Seq: f.seq, Received: unixTime(int64(f.a)), Died: unixTime(int64(f.b)), Attempts: int(r.uvarint())}
	l.Sink, l.Device, l.Reason = string(r.bytes()), string(r.bytes()), string(r.bytes())
	l.Payload = append([]byte{}, r.b...)
	return l, f.kind == kindDead && !r.bad
}

// Dead keeps the record as a dead letter of the sink, with reason (no patient data; cut at 4 KiB) and the number of
// tries, and returns when it is on the disk. The caller settles the record afterwards. A letter that is there already,
// because the host was killed between the two, is not kept twice. After ErrFull or ErrDisk nothing was kept, and the
// call may be repeated. ctx is looked at before the write only.
func (s *Spool) Dead(ctx context.Context, sink SinkID, ref Ref, reason string, attempts int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := s.sinkName(sink)
	if err != nil {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return s.dead.keep(sink, name, &ref, reason, attempts)
}

func (s *Spool) sinkName(id SinkID) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) >= len(s.sinks) {
		return "", ErrUnknownSink
	}
	return s.sinks[id].name, nil
}

func (d *deadLog) keep(sink SinkID, name string, ref *Ref, reason string, attempts int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.again[name][ref.Seq]; there {
		delete(d.again[name], ref.Seq)
		return nil
	}
	p := binary.AppendUvarint(d.buf[:0], uint64(max(attempts, 0)))
	p = appendBytes(p, []byte(name))
	p = appendBytes(p, []byte(ref.Device))
	p = appendBytes(p, []byte(reason))
	p = append(p, ref.Payload...)
	h := header{kind: kindDead, num: uint32(sink), seq: ref.Seq, a: uint64(ref.Received), b: uint64(time.Now().UnixNano())}
	if d.buf = p; cap(p) > maxPooled {
		d.buf = nil
	}
	if err := d.append(appendFrame(nil, h, p)); err != nil {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	d.count[name]++
	return nil
}

// append writes and syncs one frame; a file that failed is given up, and a new one tried once.
func (d *deadLog) append(buf []byte) error {
	var err error
	for range 2 {
		if err = d.room(int64(len(buf))); err == nil {
			f := &d.files[len(d.files)-1]
			sealHeaders(buf, f.salt)
			if err = d.put(f, buf); err == nil {
				f.end += int64(len(buf))
				return nil
			}
		}
		if isFull(err) {
			break
		}
	}
	return err
}

func (d *deadLog) put(f *deadFile, buf []byte) error {
	_, err := d.cur.WriteAt(buf, f.end)
	if err == nil {
		err = d.cur.Sync()
	}
	if err == nil {
		return nil
	}
	if cerr := errors.Join(d.closeCurrent(), d.disk.Truncate(filepath.Join(d.dir, f.name), f.end)); cerr != nil {
		d.log.Warn("file of dead letters given up", "file", f.name, "err", cerr)
	}
	return diskError("write dead letter", err)
}

// room makes a new file where there is none open or it is full.
func (d *deadLog) room(n int64) error {
	if d.cur != nil && d.files[len(d.files)-1].end+n <= deadSize {
		return nil
	}
	if err := d.closeCurrent(); err != nil {
		d.log.Warn("file of dead letters not closed", "err", err)
	}
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return err
	}
	d.top++
	f := deadFile{salt: binary.LittleEndian.Uint32(salt[:])}
	f.name = fmt.Sprintf(deadPattern, d.top, f.salt)
	path := filepath.Join(d.dir, f.name)
	cur, err := d.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return diskError("make file of dead letters", err)
	}
	if err := d.disk.dirs.Sync(d.dir); err != nil {
		return diskError("make file of dead letters", errors.Join(err, cur.Close(), d.disk.Remove(path)))
	}
	d.cur, d.files = cur, append(d.files, f)
	return nil
}

func (d *deadLog) closeCurrent() error {
	if d.cur == nil {
		return nil
	}
	f := d.cur
	d.cur = nil
	return f.Close()
}

func (d *deadLog) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closeCurrent()
}

func (d *deadLog) counts() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.count)
}

func (d *deadLog) list() []deadFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]deadFile(nil), d.files...)
}

// DeadLetters goes through the sink's dead letters, oldest first, as they are at the call; an empty name means those
// of all sinks. A file that cannot be read gives an error, and the next one follows. Called by commands of an operator.
func (s *Spool) DeadLetters(sink string) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		for _, f := range s.dead.list() {
			more := true
			err := s.dead.scan(f, func(l *DeadLetter) bool {
				more = sink != "" && l.Sink != sink || yield(l, nil)
				return more
			})
			if err != nil && more {
				more = yield(nil, fmt.Errorf("read dead letters: %w", err))
			}
			if !more {
				return
			}
		}
	}
}
