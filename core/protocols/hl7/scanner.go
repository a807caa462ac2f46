package hl7

import "bytes"

// Bytes of MLLP (HL7 MLLP release 2, section 2): VT message FS CR; a commit reply has ACK or NAK for the message.
const (
	vt  = 0x0b
	fs  = 0x1c
	ack = 0x06
	nak = 0x15
	esc = 0x1b
)

// PartKind says what a Scanner has found.
type PartKind int

// Kinds of parts.
const (
	Frame     PartKind = iota // a whole message, without VT and FS CR; it may be empty
	CommitAck                 // VT ACK FS CR
	CommitNak                 // VT NAK FS CR
	Noise                     // bytes outside of a frame, at most MaxNoise of them
	Truncated                 // a frame that another VT or the end of the stream cut off, with its VT
	TooLarge                  // the beginning of a frame of more than Max bytes, with its VT: the rest of it is passed over
)

// Part is what a Scanner has found. Data is good until the next call of Write.
type Part struct {
	Kind   PartKind
	Data   []byte
	Offset int64 // of the first byte that belongs to the part, in the stream
	Length int64 // bytes of the stream that belong to it, those of the frame's marks included
}

// MaxNoise is how many bytes of noise make one part.
const MaxNoise = 4 << 10

// Scanner takes an MLLP stream apart. The zero Scanner is ready, with a limit of MaxMessage. It is Write, then Next until
// that says false, and so on; at the end of the stream Close and Next once more. A frame is there with its FS: the CR
// behind it may be missing or come later, and an LF behind that belongs to it. Noise waits for the VT behind it, for MaxNoise
// bytes or for Close, so that it makes no difference where a stream is split.
type Scanner struct {
	Max int // longest message in bytes; 0 is MaxMessage

	buf    []byte // what was written, from the first byte that no part has
	at     int    // bytes of buf that were given out
	seen   int    // bytes of buf, from at, that were looked at and hold no end
	base   int64  // offset of buf[0] in the stream
	in     state
	closed bool
}

type state byte

const (
	outside  state = iota // of frames
	inside                // behind a VT, which is buf[at]
	behindFS              // a CR may follow
	behindCR              // an LF may follow
	skipping              // inside of a frame that is too large
)

// maxIdle is the memory that a Scanner keeps when it holds nothing, in bytes.
const maxIdle = 64 << 10

// Write takes the next bytes of the stream, any number of them. It copies p.
func (s *Scanner) Write(p []byte) {
	if s.at > 0 {
		s.base += int64(s.at)
		s.buf = s.buf[:copy(s.buf, s.buf[s.at:])]
		s.at = 0
		if len(s.buf) == 0 && cap(s.buf) > maxIdle {
			s.buf = nil
		}
	}
	s.buf = append(s.buf, p...)
}

// Close says that the stream has ended: Next then gives what is left of it.
func (s *Scanner) Close() { s.closed = true }

// Reset forgets all: a new stream begins. The memory is kept.
func (s *Scanner) Reset() { *s = Scanner{Max: s.Max, buf: s.buf[:0]} }

// Buffered is how many bytes wait for the end of their frame.
func (s *Scanner) Buffered() int { return len(s.buf) - s.at }

// Open says whether the stream stands inside of a frame: something was begun, and its end is still to come.
func (s *Scanner) Open() bool { return s.in == inside || s.in == skipping }

// Next gives the next part, or false when more has to be written first.
func (s *Scanner) Next() (Part, bool) {
	for s.at < len(s.buf) {
		switch s.in {
		case inside:
			return s.frame()
		case skipping:
			s.skip()
		case behindFS, behindCR:
			s.behind()
		default:
			if s.buf[s.at] != vt {
				return s.noise()
			}
			s.in, s.seen = inside, 1
		}
	}
	return Part{}, false
}

// behind takes the CR and the LF behind a frame.
func (s *Scanner) behind() {
	switch c := s.buf[s.at]; {
	case s.in == behindFS && c == '\r':
		s.in = behindCR
		s.at++
	case c == '\n':
		s.in = outside
		s.at++
	default:
		s.in = outside
	}
}

// noise gives what stands before the next VT.
func (s *Scanner) noise() (Part, bool) {
	rest := s.buf[s.at:]
	rest = rest[:min(len(rest), MaxNoise)]
	n := bytes.IndexByte(rest, vt)
	if n < 0 {
		if n = len(rest); n < MaxNoise && !s.closed {
			return Part{}, false
		}
	}
	return s.give(Noise, 0, n), true
}

// frame gives the frame that begins at buf[at], if its end is there.
func (s *Scanner) frame() (Part, bool) {
	rest, limit := s.buf[s.at:], s.limit()
	rest = rest[:min(len(rest), limit+2)]
	end := endOf(rest[s.seen:])
	switch {
	case end >= 0 && rest[s.seen+end] == vt:
		s.in = outside
		return s.give(Truncated, 0, s.seen+end), true
	case end >= 0:
		s.in = behindFS
		n := s.seen + end
		p := s.give(Frame, 1, n+1)
		p.Data = p.Data[:n-1]
		if n == 2 && p.Data[0] == ack {
			p.Kind = CommitAck
		} else if n == 2 && p.Data[0] == nak {
			p.Kind = CommitNak
		}
		return p, true
	case len(rest) == limit+2:
		s.in = skipping
		return s.give(TooLarge, 0, len(rest)), true
	case s.closed:
		s.in = outside
		return s.give(Truncated, 0, len(rest)), true
	}
	s.seen = len(rest)
	return Part{}, false
}

func (s *Scanner) limit() int {
	if s.Max > 0 {
		return s.Max
	}
	return MaxMessage
}

// skip passes over the rest of a frame that is too large.
func (s *Scanner) skip() {
	end := endOf(s.buf[s.at:])
	switch {
	case end < 0:
		s.at = len(s.buf)
	case s.buf[s.at+end] == vt:
		s.at += end
		s.in = outside
	default:
		s.at += end + 1
		s.in = behindFS
	}
}

// endOf is where the first FS or VT stands, or -1.
func endOf(b []byte) int {
	end := bytes.IndexByte(b, fs)
	if end < 0 {
		end = len(b)
	}
	if i := bytes.IndexByte(b[:end], vt); i >= 0 {
		return i
	}
	if end == len(b) {
		return -1
	}
	return end
}

// give makes a part of the next n bytes; its data begin skip bytes behind the first of them.
func (s *Scanner) give(kind PartKind, skip, n int) Part {
	p := Part{Kind: kind, Data: s.buf[s.at+skip : s.at+n : s.at+n], Offset: s.base + int64(s.at), Length: int64(n)}
	s.at += n
	return p
}
