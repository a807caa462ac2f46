package astm

import (
	"bytes"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// blanks mean nothing between frames: ends of lines, and what wraps records elsewhere.
const blanks = "\r\n \t\x00\x0b\x1c"

// noise is what came where nothing should.
type noise struct {
	data   []byte // at most MaxEvidence
	offset int64
	length int
	high   int  // bytes with bit 7
	loud   bool // not only blanks
	cut    bool // the beginning of a frame is among it
}

func (n *noise) add(t *Token) {
	if n.length == 0 {
		n.offset = t.Offset
	}
	n.length = int(t.Offset-n.offset) + len(t.Raw)
	n.data = append(n.data, t.Raw[:min(len(t.Raw), MaxEvidence-len(n.data))]...)
	for _, c := range t.Raw {
		n.high += int(c >> 7)
		n.loud = n.loud || t.Kind != TokenLoose || strings.IndexByte(blanks, c) < 0
	}
	n.cut = n.cut || t.Kind == TokenCut
}

// flushNoise gives what was collected as a reject. Where bit 7 is set in a quarter of it the line's parity or data bits are wrong.
func (l *Link) flushNoise() {
	n := l.noise
	l.noise = noise{}
	switch {
	case !n.loud:
	case n.high*4 > len(n.data) && len(n.data) > 8:
		l.rejectOwn(exam.RejectParity, "check parity and data bits of the line", n.offset, n.length, n.data)
	case n.cut:
		l.rejectOwn(exam.RejectTruncated, "frame without its end", n.offset, n.length, n.data)
	default:
		l.rejectOwn(exam.RejectNoise, "bytes outside of frames", n.offset, n.length, n.data)
	}
}

// looseBegin looks for a header in bytes without a frame, as senders over TCP have it that leave E1381 out.
func (l *Link) looseBegin(now time.Time, t *Token) {
	skip := len(t.Raw) - len(bytes.TrimLeft(t.Raw, blanks))
	rest := t.Raw[skip:]
	switch {
	case len(rest) > 0 && rest[0] != 'H':
		l.noise.add(&Token{Kind: TokenLoose, Raw: rest, Offset: t.Offset + int64(skip)})
		l.due = now.Add(ReceiveTime)
	case len(rest) > 0:
		l.begin(now, t.Offset+int64(skip))
		l.noise = noise{}
		l.state = loose
		l.dec.back(len(rest))
	}
}

// looseToken takes records without frames, up to the end of the L record.
func (l *Link) looseToken(now time.Time, t *Token) {
	if t.Kind != TokenLoose {
		l.looseEnd(now)
		if !l.pending {
			l.idleToken(now, t)
		} else {
			l.dec.back(len(t.Raw))
		}
		return
	}
	l.due = now.Add(ReceiveTime)
	for rest := t.Raw; len(rest) > 0; {
		n := lineEnd(rest) + 1
		ended := n > 0
		if !ended {
			n = len(rest)
		}
		l.looseText(t, rest[:n])
		if len(l.text) > 1 && !punctuation(l.text[1]) { // no header, after all
			l.noise.add(&Token{Kind: TokenLoose, Raw: l.text, Offset: l.began})
			l.noise.add(&Token{Kind: TokenLoose, Raw: rest[n:], Offset: t.Offset + int64(len(t.Raw)-len(rest)+n)})
			l.drops()
			l.state = idle
			return
		}
		rest = rest[n:]
		if !ended {
			return
		}
		if isLast(l.text[l.record:]) {
			l.due = time.Time{}
			l.deliver()
			l.dec.back(len(rest))
			return
		}
		l.record = len(l.text)
	}
}

// looseText adds to the message. A message that is too large is dropped up to the next silence.
func (l *Link) looseText(t *Token, text []byte) {
	if l.drop {
		return
	}
	if len(l.text)+len(text) > l.o.MaxMessage || !l.o.Grow(len(text)) {
		l.reject(exam.RejectTooLarge, "message is larger than allowed", l.began, int(t.Offset-l.began)+len(t.Raw), l.text)
		l.drops()
		l.drop = true
		return
	}
	l.add(text...)
}

// looseEnd is the end of records without frames by silence, by a frame, or by the end of the line.
func (l *Link) looseEnd(now time.Time) {
	if !l.drop && isLast(l.text[l.record:]) {
		l.due = time.Time{}
		l.deliver() // its last CR is missing
		return
	}
	l.finish(now, l.began+int64(len(l.text)))
}
