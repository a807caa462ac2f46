package spool

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hostd/hostd/core/internal/life"
)

// An index file stands beside a full segment, under its name with another suffix. It holds nothing that the segment does
// not say, is written without a sync, and is made again whenever it is not exactly what its checksums promise. All
// numbers are little-endian: a head, a row for each record in the order of seq, and one for each attachment of a record.
//
//	head  0 magic u32     4 version u32     8 segment u32     12 salt u32     16 end of the log in the segment u64
//	     24 first seq    32 last seq       40 earliest       48 latest received, unix ns
//	     56 key of the hashes u64          64 records u32    68 attachments u32   72 places not read u32   76 zero
//	     80 CRC-32C of all behind the head, started with the salt   84 CRC-32C of bytes 0-83, started with the salt
//	row   0 seq    8 received    16 offset of the frame    24 hash of the id    32 of the patient    40 of the kind
//	     48 device u16   50 flags u16   52 length of the frame's payload u32
//	attachment   0 SHA-256   32 seq of the record, 0 for a copy
const (
	indexSuffix  = ".idx"
	indexMagic   = 0x31784968 // "hIx1" in the file
	indexVersion = 1          // raised as well when the host's Describe says something else of the same payload
	indexHead    = 88
	rowSize      = 56
	namedSize    = sha256.Size + 8
)

// Flags of a row.
const (
	rowCopy = 1
	rowMute = 2 // Describe failed: no hashes
)

// Description is what a record says of itself. Empty fields are unknown.
type Description struct {
	ID, Kind, Patient []byte
	Attachments       []string // SHA-256 of each, 64 hex digits
}

// table is an index in memory.
type table struct {
	head  tableHead
	rows  []byte // rowSize each
	named []byte // namedSize each
}

type tableHead struct {
	end           int64
	first, last   uint64 // seq; 0 without records
	from, to      int64  // received
	key           uint64
	records       uint32
	named         uint32
	unread        uint32 // ranges that are damaged, and records that Describe could not read
	stands        uint32 // CRC-32C of what follows the head
	num, salt     uint32
	magic, format uint32
}

// row is one record of a table.
type row struct {
	seq               uint64
	received, off     int64
	id, patient, kind uint64
	device, flags     uint16
	length            uint32
}

func loadRow(b []byte) row {
	_ = b[rowSize-1]
	return row{
		seq: binary.LittleEndian.Uint64(b), received: int64(binary.LittleEndian.Uint64(b[8:])), off: int64(binary.LittleEndian.Uint64(b[16:])),
		id: binary.LittleEndian.Uint64(b[24:]), patient: binary.LittleEndian.Uint64(b[32:]), kind: binary.LittleEndian.Uint64(b[40:]),
		device: binary.LittleEndian.Uint16(b[48:]), flags: binary.LittleEndian.Uint16(b[50:]), length: binary.LittleEndian.Uint32(b[52:]),
	}
}

func (r *row) append(b []byte) []byte {
	for _, v := range [...]uint64{r.seq, uint64(r.received), uint64(r.off), r.id, r.patient, r.kind} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, r.device), r.flags)
	return binary.LittleEndian.AppendUint32(b, r.length)
}

func (h *tableHead) encode() []byte {
	b := make([]byte, 0, indexHead)
	for _, v := range [...]uint32{h.magic, h.format, h.num, h.salt} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, v := range [...]uint64{uint64(h.end), h.first, h.last, uint64(h.from), uint64(h.to), h.key} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range [...]uint32{h.records, h.named, h.unread, 0, h.stands} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Update(h.salt, castagnoli, b))
}

// decodeHead reads a head that want, as far as it is known beforehand, agrees with; false means that the file is of no use.
func decodeHead(b []byte, want tableHead) (tableHead, bool) {
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	h := tableHead{
		magic: u32(b), format: u32(b[4:]), num: u32(b[8:]), salt: u32(b[12:]),
		end: int64(u64(b[16:])), first: u64(b[24:]), last: u64(b[32:]), from: int64(u64(b[40:])), to: int64(u64(b[48:])), key: u64(b[56:]),
		records: u32(b[64:]), named: u32(b[68:]), unread: u32(b[72:]), stands: u32(b[80:]),
	}
	good := u32(b[84:]) == crc32.Update(want.salt, castagnoli, b[:84]) && h.magic == want.magic && h.format == want.format &&
		h.num == want.num && h.salt == want.salt && h.end == want.end && h.key == want.key
	return h, good
}

func (h *tableHead) size() int64 {
	return indexHead + int64(h.records)*rowSize + int64(h.named)*namedSize
}

// place is a segment whose log ends at end. A full one has an index file.
type place struct {
	*segment
	end  int64
	full bool
	most int64 // records in it, at most; 0: unknown
}

// indexes makes and reads the index files of a spool.
type indexes struct {
	dir      string
	disk     disk
	log      *slog.Logger
	bad      *quarantine
	master   []byte
	describe func([]byte) (Description, error)
	key      []byte              // of the hashes; nil: ids are hashed without, patients not at all
	keyName  uint64              // tells keys apart; 0 without one
	mayWrite func() bool         // false where nothing may be written, or nothing should
	live     func(*segment) bool // false for a segment that was deleted

	building sync.Mutex // one table is made at a time
}

func (s *Spool) setIndexes(mayWrite func() bool) {
	x := &s.index
	x.dir, x.disk, x.log, x.bad, x.master = s.dir, s.disk, s.log, &s.bad, s.opt.Key
	x.describe, x.mayWrite, x.live = s.opt.Describe, mayWrite, s.hasSegment
	x.key = s.opt.IndexKey
	if len(x.key) == 0 && len(s.opt.Key) > 0 { // what is sealed is not told by a hash that anybody can try
		mac := hmac.New(sha256.New, s.opt.Key)
		mac.Write([]byte("hostd spool index"))
		x.key = mac.Sum(nil)
	}
	if len(x.key) > 0 {
		x.keyName = x.hasher().hash("key", nil)
	}
}

// hasher hashes for one goroutine.
type hasher struct {
	mac hash.Hash // nil: without a key
	sum [sha256.Size]byte
}

func (x *indexes) hasher() *hasher {
	if len(x.key) == 0 {
		return &hasher{}
	}
	return &hasher{mac: hmac.New(sha256.New, x.key)}
}

// hash is never 0, which stands for nothing. Fields with the same value differ.
func (h *hasher) hash(field string, v []byte) uint64 {
	if h.mac == nil {
		return plainHash(v)
	}
	h.mac.Reset()
	h.mac.Write([]byte(field))
	h.mac.Write(v)
	return max(binary.LittleEndian.Uint64(h.mac.Sum(h.sum[:0])), 1)
}

// plainHash is FNV-1a.
func plainHash(v []byte) uint64 {
	n := uint64(14695981039346656037)
	for _, c := range v {
		n = (n ^ uint64(c)) * 1099511628211
	}
	return max(n, 1)
}

func (h *hasher) id(v []byte) uint64 {
	if len(v) == 0 {
		return 0
	}
	return h.hash("id", v)
}

// patient is 0 without a key: a number that few people have is soon guessed.
func (h *hasher) patient(v []byte) uint64 {
	if len(v) == 0 || h.mac == nil {
		return 0
	}
	return h.hash("patient", v)
}

func (h *hasher) kind(v []byte) uint64 {
	if len(v) == 0 {
		return 0
	}
	return plainHash(v)
}

func (x *indexes) path(p place) string { return filepath.Join(x.dir, indexName(p.name)) }

// indexName is the name of the index file of a segment.
func indexName(segment string) string { return strings.TrimSuffix(segment, ".seg") + indexSuffix }

func (x *indexes) wanted(p place) tableHead {
	return tableHead{magic: indexMagic, format: indexVersion, num: p.num, salt: p.salt, end: p.end, key: x.keyName}
}

// table returns the index of a segment, made where there is none. buf is memory that it may use; may says, by the head,
// whether the rows are of interest: without them the table is empty.
func (x *indexes) table(ctx context.Context, p place, buf *[]byte, may func(*tableHead) bool) (*table, error) {
	if !p.full || x.describe == nil {
		return x.scan(ctx, p)
	}
	if t, ok := x.load(p, buf, may); ok {
		return t, nil
	}
	return x.make(ctx, p, buf, may)
}

// make builds and writes the table unless another goroutine has done it meanwhile.
func (x *indexes) make(ctx context.Context, p place, buf *[]byte, may func(*tableHead) bool) (*table, error) {
	x.building.Lock()
	defer x.building.Unlock()
	if t, ok := x.load(p, buf, may); ok {
		return t, nil
	}
	return x.build(ctx, p)
}

// remake builds the table of a segment whose index file says what the segment does not.
func (x *indexes) remake(ctx context.Context, p place) (*table, error) {
	x.building.Lock()
	defer x.building.Unlock()
	x.log.Warn("index of a segment does not fit it and is made again", "segment", p.name)
	return x.build(ctx, p)
}

// build is called with building held.
func (x *indexes) build(ctx context.Context, p place) (*table, error) {
	t, err := x.scan(ctx, p)
	if err != nil || !p.full || x.describe == nil || !x.mayWrite() {
		return t, err
	}
	if err := x.save(p, t); err != nil {
		x.log.Debug("index of a segment not written", "segment", p.name, "err", err)
	}
	if !x.live(p.segment) {
		x.drop(p.segment)
	}
	return t, nil
}

// load reads the index file; false means that there is none of use.
func (x *indexes) load(p place, buf *[]byte, may func(*tableHead) bool) (*table, bool) {
	size, err := x.disk.dirs.Size(x.path(p))
	if err != nil || size < indexHead {
		return nil, false
	}
	f, err := x.disk.Open(x.path(p), os.O_RDONLY)
	if err != nil {
		return nil, false
	}
	t, ok := x.read(f, p, size, buf, may)
	return t, f.Close() == nil && ok
}

func (x *indexes) read(f file, p place, size int64, buf *[]byte, may func(*tableHead) bool) (*table, bool) {
	var head [indexHead]byte
	if n, err := f.ReadAt(head[:], 0); n < indexHead || failed(err) {
		return nil, false
	}
	h, ok := decodeHead(head[:], x.wanted(p))
	if !ok || h.size() != size {
		return nil, false
	}
	if !may(&h) {
		return &table{head: h}, true
	}
	body := int(size - indexHead)
	if cap(*buf) < body {
		*buf = make([]byte, body)
	}
	b := (*buf)[:body]
	if n, err := f.ReadAt(b, indexHead); n < body || failed(err) || crc32.Update(p.salt, castagnoli, b) != h.stands {
		return nil, false
	}
	rows := int(h.records) * rowSize
	return &table{head: h, rows: b[:rows], named: b[rows:]}, true
}

// whole says whether the index file's head is good: what stands behind it is looked at when it is used.
func (x *indexes) whole(p place) bool {
	_, ok := x.load(p, new([]byte), func(*tableHead) bool { return false })
	return ok
}

// save writes the table without a sync: after the end of power it may be anything, which its checksums show.
func (x *indexes) save(p place, t *table) error {
	path := x.path(p)
	if err := x.disk.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := x.disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	off := int64(0)
	for _, b := range [...][]byte{t.head.encode(), t.rows, t.named} {
		if err == nil {
			_, err = f.WriteAt(b, off)
			off += int64(len(b))
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, x.disk.Remove(path))
	}
	return nil
}

// drop follows the deletion of the segment; a file that stays is deleted by the next Open.
func (x *indexes) drop(seg *segment) {
	if err := x.disk.Remove(filepath.Join(x.dir, indexName(seg.name))); err != nil && !errors.Is(err, os.ErrNotExist) {
		x.log.Debug("index of a segment not deleted yet", "segment", seg.name, "err", err)
	}
}

// scan makes the table of a segment from its frames.
func (x *indexes) scan(ctx context.Context, p place) (*table, error) {
	src, err := x.disk.Open(filepath.Join(x.dir, p.name), os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	t := &table{head: x.wanted(p), rows: make([]byte, 0, p.most*rowSize)}
	c := scanner{src: src, salt: p.salt, end: p.end, stubborn: true, master: x.master, aead: p.aead}
	c.bad = func(r span) {
		if p.full || !c.short || r.to < p.end { // the end of a file that another process writes may be on its way
			t.head.unread++
			x.bad.take(src, p.name, r)
		}
	}
	err = x.fill(ctx, t, &c)
	t.seal(p.salt)
	return t, errors.Join(err, src.Close())
}

// seal notes the checksum of what follows the head.
func (t *table) seal(salt uint32) {
	t.head.stands = crc32.Update(crc32.Update(salt, castagnoli, t.rows), castagnoli, t.named)
}

// fill adds the records that the scanner finds.
func (x *indexes) fill(ctx context.Context, t *table, c *scanner) error {
	h := x.hasher()
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		fr, ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		if fr.kind == kindRecord && (fr.seq > t.head.last || t.head.records == 0) {
			x.add(t, h, &fr)
		}
	}
}

func (x *indexes) add(t *table, h *hasher, f *frame) {
	r := row{seq: f.seq, received: int64(f.a), off: f.off, device: uint16(f.num), length: f.length}
	seq := f.seq
	if f.flags&flagCopy != 0 {
		r.flags, seq = rowCopy, 0
	}
	if x.describe != nil {
		before := len(t.named)
		err := x.described(f.payload, func(d *Description) (err error) {
			r.id, r.patient, r.kind = h.id(d.ID), h.patient(d.Patient), h.kind(d.Kind)
			t.named, err = appendNamed(t.named, d.Attachments, seq)
			return err
		})
		if err != nil {
			r.flags |= rowMute
			t.named = t.named[:before]
			t.head.unread++
		}
		t.head.named = uint32(len(t.named) / namedSize)
	}
	if t.head.records++; t.head.records == 1 {
		t.head.first, t.head.from, t.head.to = r.seq, r.received, r.received
	}
	t.head.last, t.head.from, t.head.to = r.seq, min(t.head.from, r.received), max(t.head.to, r.received)
	t.rows = r.append(t.rows)
}

// described calls use with what the payload says of itself. A panic of Describe is an error of this payload alone.
func (x *indexes) described(payload []byte, use func(*Description) error) error {
	return life.Call(func() error {
		d, err := x.describe(payload)
		if err != nil {
			return err
		}
		return use(&d)
	})
}

// appendNamed adds the attachments of one record.
func appendNamed(dst []byte, hashes []string, seq uint64) ([]byte, error) {
	for _, name := range hashes {
		if len(name) != 2*sha256.Size {
			return dst, fmt.Errorf("read record: %w: hash is not 64 hex digits", ErrBlob)
		}
		var err error
		if dst, err = hex.AppendDecode(dst, []byte(name)); err != nil {
			return dst, fmt.Errorf("read record: %w: hash is not 64 hex digits", ErrBlob)
		}
		dst = binary.LittleEndian.AppendUint64(dst, seq)
	}
	return dst, nil
}
