package spool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	deadDir     = "dead"
	deadSize    = 16 << 20 // bytes after which a new file is begun
	maxReason   = 4 << 10  // bytes of a reason; a longer one is cut
	deadSuffix  = ".dead"
	deadPattern = "%010d-%08x" + deadSuffix
)

// DeadLetter is a record that a sink will not get, or not yet, kept until an operator decides. Its payload is a frame of
// kind kindDead: attempts, sink, device and reason, each with its length, then the record.
type DeadLetter struct {
	Sink     string
	Device   string
	Seq      uint64    // of the record
	Received time.Time // when the record was put on the disk
	Died     time.Time // when it was given up, or held back
	Held     bool      // it is held back, see Hold
	Attempts int
	Reason   string // no patient data
	Payload  []byte // the record; it belongs to the caller

	file string // that it is in
}

// deadFile is one file of dead letters; end is where its good frames end.
type deadFile struct {
	name string
	salt uint32
	end  int64
	open int             // letters in it that nobody has closed
	held map[string]seqs // guarded by deadLog.mu: numbers of its letters, by sink
}

// deadKey names one letter: the same record may be given up again after a requeue.
type deadKey struct {
	sink string
	seq  uint64
	died int64 // unix ns
}

// deadLog appends dead letters to its own files, each synced before anybody is told.
type deadLog struct {
	dir  string
	disk disk
	log  *slog.Logger
	bad  *quarantine
	key  []byte
	seal bool
	size atomic.Int64 // bytes of the files

	mu    sync.Mutex
	files []deadFile                     // guarded by mu: oldest first
	seals *sealer                        // guarded by mu: of cur; nil when it is not sealed
	cur   file                           // guarded by mu: the last of files, nil when the next letter begins a new one
	top   uint32                         // guarded by mu: highest number
	count map[string]uint64              // guarded by mu: open letters by sink
	held  map[deadKey]int64              // guarded by mu: those of held records, with when these were received, unix ns
	done  map[deadKey]bool               // guarded by mu: closed letters whose files are still there
	gone  map[string]seqs                // guarded by mu: letters whose files are deleted; under "" those of any sink
	again map[string]map[uint64]struct{} // guarded by mu: letters whose records were not settled when the spool was opened
	buf   []byte                         // guarded by mu
}

// open counts the letters that are there.
func (d *deadLog) open(s *Spool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir, d.disk, d.log, d.bad = filepath.Join(s.dir, deadDir), s.disk, s.log, &s.bad
	d.key, d.seal = s.opt.Key, s.opt.Seal
	d.count, d.again, d.done = map[string]uint64{}, map[string]map[uint64]struct{}{}, map[deadKey]bool{}
	d.files, d.gone, d.held = nil, map[string]seqs{}, map[deadKey]int64{}
	cursors := map[string]uint64{}
	for _, k := range s.sinks {
		cursors[k.name] = k.cursor
	}
	infos, err := d.disk.dirs.List(d.dir)
	if err != nil {
		return err
	}
	in := map[deadKey]int{} // the file of each letter
	for _, info := range infos {
		if err := d.load(info, in, s.next); err != nil {
			return err
		}
	}
	for k, file := range in {
		if d.done[k] {
			delete(d.held, k)
			continue
		}
		d.count[k.sink]++
		d.files[file].open++
		if k.seq > cursors[k.sink] {
			d.remember(k.sink, k.seq)
		}
	}
	size := int64(0)
	for i := range d.files {
		size += d.files[i].end
	}
	d.size.Store(size)
	return nil
}

// load notes the letters of a file, and those that it closes, and finds its end. next is the number after the last record.
func (d *deadLog) load(info fs.FileInfo, in map[deadKey]int, next uint64) error {
	var num uint32
	f := deadFile{name: info.Name(), end: info.Size(), held: map[string]seqs{}}
	if n, err := fmt.Sscanf(f.name, deadPattern, &num, &f.salt); err != nil || n != 2 || !strings.HasSuffix(f.name, deadSuffix) {
		return nil
	}
	d.top = max(d.top, num)
	d.files = append(d.files, f)
	whole, err := d.look(f, func(fr *frame) bool {
		if l, ok := decodeDead(fr); ok {
			if in[l.key()] = len(d.files) - 1; l.Held {
				d.held[l.key()] = int64(fr.a)
			}
			widen(f.held, l.Sink, seqs{l.Seq, l.Seq})
		} else if c, ok := decodeClosed(fr); ok {
			d.done[c.deadKey] = true
		} else if sink, r, ok := decodeGone(fr); ok {
			widen(d.gone, sink, r)
		}
		return true
	}, func(c *scanner, b span) bool {
		if b.to < f.end || !c.short && !c.torn(b, []span{b}) {
			return false
		}
		d.bad.cut(f.name, b)
		d.files[len(d.files)-1].end = b.from
		return true
	})
	if errors.Is(err, ErrKey) {
		return err
	}
	if !whole || err != nil {
		widen(f.held, "", seqs{0, next}) // a letter of any sink may be there
	}
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

// scan calls yield with each good frame of the file until it returns false. whole is false where something was damaged.
func (d *deadLog) scan(f deadFile, yield func(*frame) bool) (whole bool, err error) {
	return d.look(f, yield, func(*scanner, span) bool { return false })
}

// look is scan before the end of the file is known: a range of which torn is true was never acknowledged, and is no damage.
func (d *deadLog) look(f deadFile, yield func(*frame) bool, torn func(*scanner, span) bool) (whole bool, err error) {
	src, err := d.disk.Open(filepath.Join(d.dir, f.name), os.O_RDONLY)
	if err != nil {
		return false, err
	}
	whole = true
	c := scanner{src: src, salt: f.salt, end: f.end, master: d.key}
	c.bad = func(b span) {
		if !torn(&c, b) {
			whole = false
			d.bad.take(src, f.name, b)
		}
	}
	for {
		fr, ok, err := c.next()
		if err != nil || !ok || !yield(&fr) {
			return whole, errors.Join(err, src.Close())
		}
	}
}

func (l *DeadLetter) key() deadKey { return deadKey{l.Sink, l.Seq, l.Died.UnixNano()} }

func decodeDead(f *frame) (*DeadLetter, bool) {
	if f.kind != kindDead {
		return nil, false
	}
	r := reading{b: f.payload}
	l := &DeadLetter{Seq: f.seq, Received: unixTime(int64(f.a)), Died: unixTime(int64(f.b)), Attempts: int(r.uvarint()), Held: f.flags&flagHeld != 0}
	l.Sink, l.Device, l.Reason = string(r.bytes()), string(r.bytes()), string(r.bytes())
	l.Payload = append([]byte{}, r.b...)
	return l, !r.bad
}

// closedLetter is the mark that closes a letter.
type closedLetter struct {
	deadKey
	how, why string
}

// decodeClosed reads a mark: its sink, what became of it and why, each with its length.
func decodeClosed(f *frame) (closedLetter, bool) {
	if f.kind != kindClosed {
		return closedLetter{}, false
	}
	r := reading{b: f.payload}
	c := closedLetter{deadKey: deadKey{sink: string(r.bytes()), seq: f.seq, died: int64(f.b)}}
	c.how, c.why = string(r.bytes()), string(r.bytes())
	return c, !r.bad
}

// Dead keeps the record as a dead letter of the sink, with reason (no patient data; cut at 4 KiB) and the number of
// tries, and returns when it is on the disk. The caller settles the record afterwards. A letter that is there already,
// because the host was killed between the two, is not kept twice. After ErrFull or ErrDisk nothing was kept, and the
// call may be repeated. ctx is looked at before the write only.
func (s *Spool) Dead(ctx context.Context, sink SinkID, ref Ref, reason string, attempts int) error {
	return s.keepLetters(ctx, sink, []Ref{ref}, DeadLetter{Reason: reason, Attempts: attempts})
}

// keepLetters keeps the records as letters like l.
func (s *Spool) keepLetters(ctx context.Context, sink SinkID, refs []Ref, l DeadLetter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if l.Sink, err = s.sinkName(sink); err != nil {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	if len(l.Reason) > maxReason {
		l.Reason = strings.ToValidUTF8(l.Reason[:maxReason], "")
	}
	return s.evenFull(func() error { return s.dead.keep(sink, &l, refs) })
}

// evenFull writes letters, and once more with the room of the reserve when the disk is full.
func (s *Spool) evenFull(write func() error) error {
	err := write()
	if isFull(err) && s.spend() {
		err = write()
		s.remind() // Run looks for room from now on, also where nothing is settled
	}
	return err
}

func (s *Spool) sinkName(id SinkID) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) >= len(s.sinks) {
		return "", ErrUnknownSink
	}
	return s.sinks[id].name, nil
}

// keep writes a letter like l for each record, all with one sync.
func (d *deadLog) keep(sink SinkID, l *DeadLetter, refs []Ref) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var buf []byte
	kept := map[deadKey]int64{} // with when each was received
	died := time.Now().UnixNano()
	h := header{kind: kindDead, num: uint32(sink)}
	if l.Held {
		h.flags = flagHeld
	}
	for i := range refs {
		r := &refs[i]
		if _, there := d.again[l.Sink][r.Seq]; there {
			continue
		}
		p := binary.AppendUvarint(d.buf[:0], uint64(max(l.Attempts, 0)))
		p = appendBytes(appendBytes(p, []byte(l.Sink)), []byte(r.Device))
		p = append(appendBytes(p, []byte(l.Reason)), r.Payload...)
		if d.buf = p; cap(p) > maxPooled {
			d.buf = nil
		}
		k := deadKey{l.Sink, r.Seq, died}
		for d.done[k] { // a slow clock: it is another letter all the same
			k.died++
		}
		h.seq, h.a, h.b = r.Seq, uint64(r.Received), uint64(k.died)
		buf, kept[k] = appendFrame(buf, h, p), r.Received
	}
	if len(kept) > 0 {
		if err := d.append(buf); err != nil {
			return fmt.Errorf("keep dead letter: %w", err)
		}
	}
	for i := range refs {
		delete(d.again[l.Sink], refs[i].Seq)
	}
	for k, received := range kept {
		f := &d.files[len(d.files)-1]
		f.open++
		widen(f.held, l.Sink, seqs{k.seq, k.seq})
		if d.count[l.Sink]++; l.Held {
			d.held[k] = received
		}
	}
	return nil
}

// closeLetters notes that letters of one sink are dealt with, durably and with one sync, and deletes files in which none is
// left. One that is not there or was closed before is left out.
func (d *deadLog) closeLetters(sink SinkID, list []*DeadLetter, how, why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var buf []byte
	var closed []*DeadLetter
	for _, l := range list {
		if d.done[l.key()] || d.count[l.Sink] == 0 {
			continue
		}
		p := appendBytes(appendBytes(appendBytes(nil, []byte(l.Sink)), []byte(how)), []byte(why))
		buf = appendFrame(buf, header{kind: kindClosed, num: uint32(sink), seq: l.Seq, b: uint64(l.key().died)}, p)
		closed = append(closed, l)
	}
	if len(closed) == 0 {
		return nil
	}
	if err := d.append(buf); err != nil {
		return fmt.Errorf("close dead letter: %w", err)
	}
	for _, l := range closed {
		d.done[l.key()] = true
		delete(d.held, l.key())
		d.count[l.Sink]--
		for i := range d.files {
			if d.files[i].name == l.file {
				d.files[i].open--
			}
		}
	}
	d.prune()
	return nil
}

// tidy deletes files that were read when their last letter was closed.
func (d *deadLog) tidy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune()
}

// prune deletes the oldest files while no letter in them is open. What they close is in them or in files before them.
func (d *deadLog) prune() {
	for len(d.files) > 1 && d.files[0].open == 0 {
		if err := d.markGone(); err != nil { // Rule 18: marked, then deleted
			d.log.Debug("file of dead letters not deleted yet", "file", d.files[0].name, "err", err)
			return
		}
		if err := d.disk.Remove(filepath.Join(d.dir, d.files[0].name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.log.Debug("file of dead letters not deleted yet", "file", d.files[0].name, "err", err)
			return
		}
		d.size.Add(-d.files[0].end)
		d.files = append([]deadFile(nil), d.files[1:]...)
		if err := d.disk.dirs.Sync(d.dir); err != nil { // Rule 18: no letter outlives the file with the mark that closes it
			d.log.Debug("folder of dead letters not synced", "err", err)
			return
		}
	}
}

func (d *deadLog) isDone(k deadKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[k]
}

// append writes and syncs one frame; a file that failed is given up, and a new one tried once.
func (d *deadLog) append(buf []byte) error {
	var err error
	for range 2 {
		if err = d.room(int64(len(buf))); err == nil {
			f := &d.files[len(d.files)-1]
			whole := buf
			if d.seals != nil {
				whole = d.seals.all(nil, buf)
			}
			sealHeaders(whole, f.salt)
			if err = d.put(f, whole); err == nil {
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
		f.end += int64(len(buf))
		d.size.Add(int64(len(buf)))
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
	f := deadFile{salt: binary.LittleEndian.Uint32(salt[:]), held: map[string]seqs{}}
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
	return d.begin()
}

// begin writes the key of a file that is to be sealed.
func (d *deadLog) begin() error {
	if d.seals = nil; !d.seal {
		return nil
	}
	f := &d.files[len(d.files)-1]
	seals, head, err := newSealer(d.key, f.salt)
	if err != nil {
		return err
	}
	d.seals = seals
	sealHeaders(head, f.salt)
	return d.put(f, head)
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

func (d *deadLog) list() []deadFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]deadFile(nil), d.files...)
}
