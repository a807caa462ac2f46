package nidekrs

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Wait says what a Framer has begun and not ended.
type Wait uint8

// What a Framer waits for.
const (
	Nothing Wait = iota // it is between two frames
	Tail                // a frame has ended, and its checksum or the CR behind may come within 200 ms; some units send none
	Rest                // a frame, or noise, has begun
)

// state is where in the stream a Framer is.
type state uint8

const (
	between  state = iota // nothing has begun
	noise                 // bytes outside of a frame
	first                 // SOH was the last byte
	head                  // in the head of a block, before its STX
	body                  // in a segment
	ended                 // behind an ETB, or CR and LF behind it: a SOH here goes on with the frame
	refract               // in a refractor's frame
	control               // in a command
	tail                  // behind the EOT, in the checksum
	mistaken              // behind a wrong checksum
)

// maxBlocks is how many blocks a frame may have; there are less than ten heads.
const maxBlocks = 16

// Framer cuts the bytes of a line into frames, however they are split over its calls. A SOH that cannot go on with the
// frame begins a new one, and what came before it is a reject. It holds MaxFrame bytes at most. The zero Framer is between
// two frames at the beginning of a stream.
type Framer struct {
	buf    []byte // what has begun, behind the done bytes
	out    Frame  // that has ended last
	done   int    // its bytes
	after  int    // bytes behind those that were dropped at once
	start  int64  // offset in the stream of the first byte behind them
	state  state
	behind byte // the CR or LF that may still stand behind the last frame without being noise: the last of them that came, or soh
	block  int  // where in buf the newest block begins
	sum    uint16
	before uint16 // sum of what stands before the block
	digits int    // of the checksum
	heads  [maxBlocks][3]byte
	count  int
}

// Waiting says whether something has begun, so that a silence of the line would end it.
func (f *Framer) Waiting() Wait {
	switch {
	case f.state == between:
		return Nothing
	case f.state == mistaken || f.state == tail && f.digits == 0:
		return Tail
	}
	return Rest
}

// Next takes bytes from b up to the end of a frame. N is how many it took, which is all where there is no frame.
func (f *Framer) Next(b []byte) (fr Frame, n int, ok bool) {
	f.drop()
	for n < len(b) {
		took, ok := f.step(b[n:])
		if n += took; ok {
			return f.out, n, true
		}
	}
	return Frame{}, n, false
}

// Silence ends what has begun: the line was silent for as long as Waiting says, or is gone.
func (f *Framer) Silence() (Frame, bool) {
	f.drop()
	switch f.state {
	case between:
		return Frame{}, false
	case noise:
		f.noise()
	case tail, mistaken:
		f.finish()
	case first, head, body, ended, refract, control:
		f.truncated(len(f.buf))
	}
	return f.out, true
}

// drop forgets the frame that was given last.
func (f *Framer) drop() {
	f.start += int64(f.done + f.after)
	if f.done > 0 {
		f.buf = f.buf[:copy(f.buf, f.buf[f.done:])]
	}
	f.done, f.after = 0, 0
}

// step takes at least one byte, or gives a frame.
func (f *Framer) step(b []byte) (n int, over bool) {
	c := b[0]
	switch f.state {
	case between:
		return f.begin(c), false
	case tail, mistaken:
		if n, over = f.tail(c); over {
			f.finish()
		}
		if n > 0 && (c == cr || c == lf) {
			f.behind = c
		}
		return n, over
	case noise:
		if c == soh {
			return 0, f.noise()
		}
	case first:
		if c != soh {
			return f.kind(c)
		}
	case ended:
		if c == soh {
			f.block, f.before, f.state = len(f.buf), f.sum, first
			f.add(c)
			return 1, false
		}
	case head, body, refract, control:
	}
	if c == soh { // anywhere else it begins a new frame
		return 0, f.truncated(len(f.buf))
	}
	return f.run(b)
}

// begin takes a byte between two frames.
func (f *Framer) begin(c byte) int {
	switch {
	case c == soh:
		f.state, f.block, f.sum, f.before, f.count, f.digits = first, 0, 0, 0, 0, 0
	case c == cr && f.behind == soh, c == lf && (f.behind == soh || f.behind == cr):
		f.behind = c
		f.start++
		return 1
	default:
		f.state = noise
	}
	f.add(c)
	return 1
}

func (f *Framer) add(c byte) {
	f.buf = append(f.buf, c)
	if c != cr && c != lf {
		f.sum += uint16(c)
	}
}

// kind takes the first byte of a head, which says whose frame it is. In a frame of several blocks no other begins.
func (f *Framer) kind(c byte) (n int, over bool) {
	next := head
	switch {
	case c == 'N':
		next = refract
	case c == 'C':
		next = control
	case c == eot || c == etb || c == stx:
		f.state = head // an empty one
		return 0, false
	}
	if next != head && f.block > 0 {
		return 0, f.restart(first)
	}
	f.state = next
	f.add(c)
	return 1, false
}

// restart gives what stands before the newest block, with which a new frame begins.
func (f *Framer) restart(s state) bool {
	f.truncated(f.block)
	f.state, f.sum, f.before, f.block, f.count, f.digits = s, f.sum-f.before, 0, 0, 0, 0
	return true
}

// run takes the bytes up to the next SOH, or with the EOT before it, or with the STX behind a head.
func (f *Framer) run(b []byte) (n int, over bool) {
	room := MaxFrame - len(f.buf)
	switch {
	case room <= 0 && f.state == noise:
		return 0, f.noise()
	case room <= 0:
		return 0, f.rejected(len(f.buf), exam.RejectTooLarge, "frame is longer than any instrument's")
	}
	b = b[:min(len(b), room)]
	if at := bytes.IndexByte(b, soh); at >= 0 {
		b = b[:at]
	}
	if f.state == noise {
		f.take(b)
		return len(b), false
	}
	b = through(b, eot)
	if f.state == head {
		b = through(through(b, stx), etb)
	}
	f.take(b)
	return len(b), f.mark(b)
}

// through is b up to its first c, with it.
func through(b []byte, c byte) []byte {
	if at := bytes.IndexByte(b, c); at >= 0 {
		return b[:at+1]
	}
	return b
}

// take adds bytes to what has begun.
func (f *Framer) take(b []byte) {
	f.buf = append(f.buf, b...)
	f.sum += Sum(b)
}

// mark does what the last of the bytes that run took means: EOT, ETB with or without line ends, or the STX behind a head.
func (f *Framer) mark(b []byte) (end bool) {
	c := b[len(b)-1]
	switch {
	case c == eot && f.state == refract:
		return f.whole(Refractor)
	case c == eot && f.state == control:
		return f.whole(Control)
	case c == eot:
		f.state, f.digits = tail, 0
	case f.state == refract || f.state == control:
	case f.state == head && c == stx:
		f.state = body
		h := f.newest()
		if end = f.recurs(h); end {
			f.restart(body)
		}
		f.heads[f.count] = h
		f.count++
	default:
		f.text(b)
	}
	return end
}

// text says whether the segment is over behind b.
func (f *Framer) text(b []byte) {
	for len(b) > 0 && (b[len(b)-1] == cr || b[len(b)-1] == lf) {
		b = b[:len(b)-1]
	}
	switch {
	case len(b) == 0: // as before
	case b[len(b)-1] == etb:
		f.state = ended
	case f.state == ended:
		f.state = body
	}
}

// newest is the head of the newest block, of which the STX has just come.
func (f *Framer) newest() (h [3]byte) {
	copy(h[:], f.buf[f.block+1:len(f.buf)-1])
	return h
}

// recurs says whether the frame has a block of this head already, or too many.
func (f *Framer) recurs(h [3]byte) bool {
	return f.count == maxBlocks || slices.Contains(f.heads[:f.count], h)
}

// tail takes a byte behind the EOT. Ok says that the frame ends there, before or behind the byte.
func (f *Framer) tail(c byte) (n int, ok bool) {
	switch {
	case f.state == mistaken:
		if c != cr {
			return 0, true
		}
		f.buf = append(f.buf, c) // it belongs to the evidence
		return 1, true
	case c >= '0' && c <= '9' || c >= 'A' && c <= 'F':
		f.buf = append(f.buf, c)
		if f.digits++; f.digits < 4 {
			return 1, false
		}
		if f.sent() == f.sum {
			return 1, true
		}
		f.state = mistaken
		return 1, false
	case f.digits == 0 && (c == cr || c == lf):
		f.after = 1
		return 1, true
	}
	return 0, true
}

// sent is the checksum that came.
func (f *Framer) sent() (sum uint16) {
	at := len(f.buf) - 4
	if f.buf[len(f.buf)-1] == cr {
		at--
	}
	for _, c := range f.buf[at : at+4] {
		if c -= '0'; c > 9 {
			c -= 'A' - '9' - 1
		}
		sum = sum<<4 | uint16(c)
	}
	return sum
}

// finish gives the frame that has ended.
func (f *Framer) finish() bool {
	switch {
	case f.state == mistaken:
		return f.rejected(len(f.buf), exam.RejectChecksum, fmt.Sprintf("checksum sent %04X, computed %04X", f.sent(), f.sum))
	case f.digits == 0:
		return f.whole(Exam)
	case f.digits < 4:
		return f.rejected(len(f.buf), exam.RejectTruncated, "frame ends in its checksum")
	}
	f.give(len(f.buf), Exam)
	f.out.Summed = true
	return true
}

// whole gives a frame without a checksum; a preset is one for the refractor.
func (f *Framer) whole(k Kind) bool {
	if detail, yes := spoilt(f.buf); yes {
		return f.rejected(len(f.buf), exam.RejectParity, detail)
	}
	if k == Exam && slices.Contains(f.heads[:f.count], [3]byte{'D', 'R', 'L'}) {
		k = Control
	}
	return f.give(len(f.buf), k)
}

func (f *Framer) noise() bool {
	return f.rejected(len(f.buf), exam.RejectNoise, "bytes outside of a frame")
}

func (f *Framer) truncated(n int) bool {
	return f.rejected(n, exam.RejectTruncated, "frame has no end")
}

// rejected gives the first n bytes as evidence; where they look so, the settings of the line are to blame.
func (f *Framer) rejected(n int, reason, detail string) bool {
	if because, yes := spoilt(f.buf[:n]); yes {
		reason, detail = exam.RejectParity, because
	}
	f.give(n, Rejected)
	f.out.reason, f.out.detail = reason, detail
	return true
}

// give makes the first n bytes the frame that has ended, and is between two frames.
func (f *Framer) give(n int, k Kind) bool {
	if f.behind = 0; f.state != noise {
		f.behind = soh
	}
	f.state, f.done = between, n
	f.out = Frame{Kind: k, Raw: f.buf[:n], Offset: f.start}
	return true
}
