package spool

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// chunk is how many bytes a scanner reads at once.
const chunk = 256 << 10

// block is how much is given up at once where a disk cannot read; maxFails is how often it is asked.
const (
	block    = 4 << 10
	maxFails = 5
)

// sector is the smallest piece that a disk writes whole.
const sector = 512

// span is a range of bytes of a file.
type span struct{ from, to int64 }

// frame is a frame whose checksums are right. raw (header and payload) is good until the next call of the scanner.
type frame struct {
	header
	off     int64
	raw     []byte
	payload []byte
}

// scanner reads the frames of a file in order, whatever the bytes are. What is not a frame is skipped up to the next
// header with a right checksum, and reported to bad.
type scanner struct {
	src   io.ReaderAt
	salt  uint32
	off   int64 // where the next frame is looked for
	end   int64 // bytes at and after it are never read
	bad   func(span)
	short bool // a frame was met that the end of the file cuts off

	stubborn bool  // what cannot be read at the maxFails-th try counts as damaged, block by block
	unread   bool  // something counted so
	synced   bool  // all bytes up to end were on the disk once: what is missing or no frame is asked for again
	doubted  int64 // the place that is read for the second time, or -1

	master []byte      // key of sealed files; nil: there is none
	aead   cipher.AEAD // of this file, once its key frame was met
	raw    bool        // sealed payloads are given as they are
	late   bool        // those of records are, until open
	plain  []byte      // the last payload that was unsealed
	bound  []byte      // memory for what it was bound to

	buf  []byte // window of the file
	base int64  // offset of buf[0]
}

// next returns the next good frame, or false at the end. An error is one of reading, and the call may be repeated.
func (c *scanner) next() (frame, bool, error) {
	for c.off < c.end {
		h, ok, err := c.headerAt(c.off)
		if err != nil {
			return frame{}, false, err
		}
		if !ok {
			if c.lookAgain(c.off) {
				continue
			}
			if err := c.skip(); err != nil {
				return frame{}, false, err
			}
			continue
		}
		raw, err := c.window(c.off, headerSize+int64(h.length))
		if err != nil {
			return frame{}, false, err
		}
		f := frame{header: h, off: c.off, raw: raw, payload: raw[headerSize:]}
		c.off += int64(len(raw))
		good := c.unseals(&f) || crc32.Checksum(f.payload, castagnoli) == h.sum // the seal is a checksum, too
		if good {
			good, err = c.unlock(&f)
		}
		if err != nil {
			c.off = f.off
			return frame{}, false, err
		}
		if good {
			return f, true, nil
		}
		if !c.lookAgain(f.off) {
			c.report(f.off, c.off)
		}
	}
	return frame{}, false, nil
}

// logEnd is where the log can end in a file of size bytes. Zeros at the end of the file are not the log: they are room that was made
// for more of it, or never reached the disk. A log ends with a trailer, which may end in zeros of its own, also when one of its bits is
// flipped. What cannot be read there is no zero.
func logEnd(src io.ReaderAt, salt uint32, size int64) int64 {
	end := lastByte(src, size)
	from, most := max(end-headerSize, 0), min(end+headerSize, size)
	b := make([]byte, most-from)
	if failed(readTry(src, b, from)) {
		return most
	}
	for at := max(end, headerSize); at <= most; at++ {
		if h, _, ok := mended(b[at-headerSize-from:], salt); ok && h.kind == kindTrailer {
			return at
		}
	}
	return end
}

// mended is the header at the start of b, and the bit of it that is flipped, -1 where none is.
func mended(b []byte, salt uint32) (h header, flipped int, ok bool) {
	c := [headerSize]byte(b)
	if h, ok = parseHeader(c[:], salt); ok {
		return h, -1, true
	}
	if bits.OnesCount32(binary.LittleEndian.Uint32(c[:])^magic) > 1 {
		return header{}, 0, false
	}
	for bit := range 8 * headerSize {
		c[bit/8] ^= 1 << (bit % 8)
		if h, ok = parseHeader(c[:], salt); ok {
			return h, bit, true
		}
		c[bit/8] ^= 1 << (bit % 8)
	}
	return header{}, 0, false
}

// lastByte is where the last byte ends that is not zero.
func lastByte(src io.ReaderAt, size int64) int64 {
	buf := make([]byte, block)
	for end := size; end > 0; {
		at := max(end-block, 0)
		piece := buf[:end-at]
		if failed(readTry(src, piece, at)) {
			return end
		}
		if piece = bytes.TrimRight(piece, "\x00"); len(piece) > 0 {
			return at + int64(len(piece))
		}
		end = at
	}
	return 0
}

// readTry fills p from off as often as it takes, up to maxFails times; bytes that the file does not have read as zeros.
func readTry(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	for try := 1; try < maxFails && n < len(p) && failed(err); try++ {
		n, err = src.ReadAt(p, off)
	}
	clear(p[n:])
	if n == len(p) {
		return nil
	}
	return err
}

// lookAgain goes back to a place in synced bytes that holds no good frame, once: what was read may be wrong, and not the disk.
func (c *scanner) lookAgain(off int64) bool {
	if !c.synced || c.doubted == off {
		return false
	}
	c.doubted, c.off, c.buf = off, off, c.buf[:0]
	return true
}

// unseals says whether the payload is to be made plain here.
func (c *scanner) unseals(f *frame) bool { return !c.raw && c.aead != nil && f.flags&flagSealed != 0 }

// unlock takes the file's key from its frame, and makes a sealed payload plain; false means that it cannot.
func (c *scanner) unlock(f *frame) (good bool, err error) {
	switch {
	case c.raw:
		return true, nil
	case f.kind == kindKey:
		if c.aead == nil {
			c.aead, err = openKey(c.master, c.salt, f.payload)
		}
		return err == nil, err
	case f.flags&flagSealed == 0, c.late && f.kind == kindRecord:
		return true, nil
	}
	c.plain, good = c.unseal(c.plain[:0], f)
	f.payload = c.plain
	return good, nil
}

// open appends the plain payload of a record that next gave to dst; false means that it is damaged, which is reported, or that
// next gives it once more.
func (c *scanner) open(dst []byte, f *frame) ([]byte, bool) {
	if !c.late || f.flags&flagSealed == 0 {
		return append(dst, f.payload...), true
	}
	dst, good := c.unseal(dst, f)
	if !good && !c.lookAgain(f.off) {
		c.report(f.off, f.off+int64(len(f.raw)))
	}
	return dst, good
}

// skip moves off to the next header after it and reports what lies between.
func (c *scanner) skip() error {
	to, err := c.resync(c.off + 1)
	if err != nil {
		return err
	}
	from := c.off
	c.off = to
	c.report(from, to)
	return nil
}

func (c *scanner) report(from, to int64) {
	if c.bad != nil {
		c.bad(span{from, to})
	}
}

// headerAt reads the header at off; false means that there is none whose frame fits before the end.
func (c *scanner) headerAt(off int64) (header, bool, error) {
	if off+headerSize > c.end {
		c.short = true
		return header{}, false, nil
	}
	b, err := c.window(off, headerSize)
	if err != nil {
		return header{}, false, err
	}
	h, ok := parseHeader(b, c.salt)
	if ok && off+headerSize+int64(h.length) > c.end {
		c.short = true
		return header{}, false, nil
	}
	return h, ok, nil
}

// resync returns the offset of the first good header at or after from, or the end.
func (c *scanner) resync(from int64) (int64, error) {
	for at := from; at+headerSize <= c.end; {
		w, err := c.window(at, min(chunk, c.end-at))
		if err != nil {
			return 0, err
		}
		i := bytes.Index(w, magicBytes)
		if i < 0 {
			at += int64(len(w) - len(magicBytes) + 1)
			continue
		}
		at += int64(i)
		if at+headerSize > c.end {
			break
		}
		_, ok, err := c.headerAt(at)
		if err != nil {
			return 0, err
		}
		if ok {
			return at, nil
		}
		at++
	}
	return c.end, nil
}

// window returns the n bytes at off, which lie before end. Bytes that the file does not have read as zeros, unless they are synced.
func (c *scanner) window(off, n int64) ([]byte, error) {
	at := off - c.base
	if at >= 0 && at+n <= int64(len(c.buf)) {
		return c.buf[at : at+n], nil
	}
	have := 0
	if at >= 0 && at < int64(len(c.buf)) {
		have = copy(c.buf, c.buf[at:])
	}
	want := int(min(max(n, chunk), c.end-off))
	if cap(c.buf) < want {
		grown := make([]byte, want)
		copy(grown, c.buf[:have])
		c.buf = grown
	}
	c.base, c.buf = off, c.buf[:want]
	if err := c.read(c.buf[have:], off+int64(have)); err != nil {
		c.buf = c.buf[:have]
		return nil, fmt.Errorf("read segment: %w: %w", ErrDisk, err)
	}
	return c.buf[:n], nil
}

// read fills p from off.
func (c *scanner) read(p []byte, off int64) error {
	m, err := c.readAt(p, off)
	for try := 1; c.stubborn && try < maxFails && failed(err); try++ {
		m, err = c.readAt(p, off)
	}
	switch {
	case !failed(err):
		clear(p[m:])
		return nil
	case !c.stubborn:
		return err
	case len(p) <= block:
		c.unread = true
		clear(p)
		return nil
	}
	for at := 0; at < len(p); at += block {
		if err := c.read(p[at:min(at+block, len(p))], off+int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// readAt is the file's; of synced bytes the end of the file is an error, which may pass.
func (c *scanner) readAt(p []byte, off int64) (int, error) {
	m, err := c.src.ReadAt(p, off)
	if c.synced && m < len(p) && !failed(err) {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

func failed(err error) bool { return err != nil && !errors.Is(err, io.EOF) }

// at moves the scanner to another place of the same file.
func (c *scanner) at(off, end int64) { c.off, c.end = off, end }

// torn says of the bytes that one sync was to cover, whose frames are good but for bad, whether they never reached the disk
// whole: their end is missing, or at least one sector of each frame in bad.
func (c *scanner) torn(written span, bad []span) bool {
	lost := len(bad) == 0
	for _, b := range bad {
		switch c.why(b, written) {
		case isDamage:
			return false
		case isLost:
			lost = true
		case isLocked:
		}
	}
	return lost
}

// cause is why a frame is not good.
type cause uint8

const (
	isDamage cause = iota
	isLost         // a sector of it never reached the disk, and reads as zeros
	isLocked       // it is whole, and the key of its file is not
)

// why looks at the frame that should stand at the start of b. Where its header cannot be read, a sector of the header must be
// lost. Zeros that a payload has of its own do not make it lost when a bit is flipped.
func (c *scanner) why(b, written span) cause {
	raw := make([]byte, min(b.to-b.from, headerSize+maxPayload))
	if n, err := c.src.ReadAt(raw, b.from); n < len(raw) || n < headerSize {
		return causeIf(!failed(err) && c.blank(b, written), isLost)
	}
	h, flipped, ok := mended(raw, c.salt)
	if at := b.from + int64(flipped/8); ok && flipped >= 0 && !c.blank(span{at, at + 1}, written) {
		return isDamage
	}
	if !ok || flipped >= 0 {
		return causeIf(c.blank(span{b.from, b.from + headerSize}, written), isLost)
	}
	payload := raw[headerSize:]
	switch wrong := crc32.Checksum(payload, castagnoli) ^ h.sum; {
	case wrong == 0:
		return causeIf(h.flags&flagSealed != 0 && c.aead == nil, isLocked)
	case oneBit(wrong, len(payload)):
		return isDamage
	}
	return causeIf(c.blank(span{b.from + headerSize, b.to}, written), isLost)
}

func causeIf(yes bool, what cause) cause {
	if yes {
		return what
	}
	return isDamage
}

// blank says whether what was written of one of the sectors that b touches reads as zeros.
func (c *scanner) blank(b, written span) bool {
	var buf, zeros [sector]byte
	for at := b.from / sector * sector; at < b.to; at += sector {
		from, to := max(at, written.from), min(at+sector, written.to)
		piece := buf[:to-from]
		if n, err := c.src.ReadAt(piece, from); n == len(piece) && err == nil && bytes.Equal(piece, zeros[:n]) {
			return true
		}
	}
	return false
}

// oneBit says whether a checksum is wrong by what the flip of a single one of n bytes' bits makes of it.
func oneBit(wrong uint32, n int) bool {
	for flip := uint32(crc32.Castagnoli); n > 0; n-- {
		for range 8 {
			if flip == wrong {
				return true
			}
			flip = flip>>1 ^ crc32.Castagnoli&-(flip&1)
		}
	}
	return false
}
