package lineprofile

import (
	"bytes"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Piece is a part of what came over the line: a frame with its marks and checksum, or what is none.
type Piece struct {
	Data   []byte // until the next Add
	Offset int64  // of its first byte since the framer began
	Reason string // a Reject constant of package exam; empty for a frame
}

// End is the offset behind the piece.
func (p *Piece) End() int64 { return p.Offset + int64(len(p.Data)) }

// Framer parts a stream of bytes into pieces, however they arrive. It keeps at most MaxFrame bytes besides those of one Add.
type Framer struct {
	p      *Profile
	buf    []byte
	from   int   // buf before it is done
	done   int64 // offset of buf[from]
	seen   int   // bytes behind from in which the mark that is looked for does not begin
	inside bool  // a start mark stands at from
	lost   bool  // up to the end mark all belongs to a frame that was too large
}

// NewFramer begins a stream.
func (p *Profile) NewFramer() *Framer { return &Framer{p: p} }

// Add takes what came next. Pieces that Next gave before are void.
func (f *Framer) Add(b []byte) {
	if f.from > 0 {
		f.buf = f.buf[:copy(f.buf, f.buf[f.from:])]
		f.from = 0
	}
	f.buf = append(f.buf, b...)
}

// Pending says that something has come that is not a whole piece yet.
func (f *Framer) Pending() bool { return len(f.rest()) > 0 }

// Received is the offset behind all that has come.
func (f *Framer) Received() int64 { return f.done + int64(len(f.buf)-f.from) }

// Next is the next whole piece, until there is none.
func (f *Framer) Next() (Piece, bool) {
	for {
		rest := f.rest()
		switch {
		case len(rest) == 0:
			return Piece{}, false
		case !f.inside && len(f.p.start) > 0:
			if piece, ok := f.noise(rest); ok || !f.inside {
				return piece, ok
			}
		case f.lost:
			if !f.findLost(rest) {
				return Piece{}, false
			}
		default:
			return f.frame(rest)
		}
	}
}

// Silence says that the line was silent for long enough: what has come is a frame where silence ends one, else it was cut
// or is noise. It is called until it gives nothing more.
func (f *Framer) Silence() (Piece, bool) {
	if piece, ok := f.Next(); ok {
		return piece, true
	}
	rest := f.rest()
	switch {
	case len(rest) == 0:
		return Piece{}, false
	case f.lost:
		f.lost = false
		f.drop(len(rest))
		return Piece{}, false
	case !f.inside && len(f.p.start) > 0:
		return f.take(len(rest), exam.RejectNoise), true
	}
	if at := f.again(rest); at > 0 {
		return f.take(at, f.whole()), true
	}
	f.inside = false
	return f.take(len(rest), f.whole()), true
}

// whole is the reason of what ends without an end mark.
func (f *Framer) whole() string {
	if len(f.p.end) == 0 {
		return ""
	}
	return exam.RejectTruncated
}

// rest is what is not done, without line ends and filling before it: what follows a frame is known of few instruments.
func (f *Framer) rest() []byte {
	rest := f.buf[f.from:]
	if f.inside || f.seen > 0 {
		return rest
	}
	n := 0
	for n < len(rest) && (rest[n] == '\r' || rest[n] == '\n' || rest[n] == 0 || rest[n] == ' ' && f.p.textual) {
		n++
	}
	f.drop(n)
	return rest[n:]
}

// noise looks for the start mark. It gives what stands before it, or enters the frame.
func (f *Framer) noise(rest []byte) (Piece, bool) {
	at := bytes.Index(rest[f.seen:], f.p.start)
	switch {
	case at >= 0 && f.seen+at == 0:
		f.inside = true
		return Piece{}, false
	case at >= 0:
		return f.take(min(f.seen+at, MaxFrame), exam.RejectNoise), true
	case len(rest) > MaxFrame:
		return f.take(MaxFrame, exam.RejectNoise), true
	}
	f.seen = max(f.seen, len(rest)-len(f.p.start)+1)
	return Piece{}, false
}

// frame looks for the end mark, and for a second start mark before it.
func (f *Framer) frame(rest []byte) (Piece, bool) {
	begin := len(f.p.start)
	f.seen = max(f.seen, begin)
	size := -1
	if len(f.p.end) > 0 {
		if at := bytes.Index(rest[f.seen:], f.p.end); at >= 0 {
			size = f.seen + at + len(f.p.end) + f.p.Checksum.behind()
		}
	}
	if size > len(rest) { // its checksum is still to come
		return Piece{}, false
	}
	if size >= 0 && size <= MaxFrame {
		if at := f.again(rest[:size-f.p.Checksum.behind()]); at > 0 { // a bare checksum may look like a mark
			return f.take(at, f.whole()), true
		}
		f.inside = false
		return f.take(size, ""), true
	}
	if len(rest) > MaxFrame {
		if at := f.again(rest[:MaxFrame]); at > 0 {
			return f.take(at, f.whole()), true
		}
		f.inside, f.lost = false, begin == 0
		return f.take(MaxFrame, exam.RejectTooLarge), true
	}
	f.seen = max(f.seen, len(rest)-max(len(f.p.end), 1)+1)
	return Piece{}, false
}

// again is where another frame begins in what began as one, or 0. Where frames have an end mark it is the last one: all
// before it was cut.
func (f *Framer) again(rest []byte) int {
	begin := len(f.p.start)
	if begin == 0 || len(rest) < begin {
		return 0
	}
	at := bytes.Index(rest[begin:], f.p.start)
	switch {
	case at < 0:
		return 0
	case len(f.p.end) > 0:
		at = bytes.LastIndex(rest[begin:], f.p.start)
	}
	return begin + at
}

// findLost drops what belongs to a frame that was too large. It is true when that is over.
func (f *Framer) findLost(rest []byte) bool {
	if len(f.p.end) == 0 {
		f.drop(len(rest))
		return false
	}
	at := bytes.Index(rest, f.p.end)
	if at < 0 {
		f.drop(max(0, len(rest)-len(f.p.end)+1))
		return false
	}
	f.drop(at + len(f.p.end))
	f.lost = false
	return true
}

func (f *Framer) take(n int, reason string) Piece {
	piece := Piece{Data: f.buf[f.from : f.from+n : f.from+n], Offset: f.done, Reason: reason}
	f.drop(n)
	return piece
}

func (f *Framer) drop(n int) {
	f.from += n
	f.done += int64(n)
	f.seen = 0
}
