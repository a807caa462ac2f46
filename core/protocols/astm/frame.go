package astm

import (
	"bytes"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Control characters of the link (E1381 section 6.1).
const (
	STX byte = 0x02
	ETX byte = 0x03
	EOT byte = 0x04
	ENQ byte = 0x05
	ACK byte = 0x06
	LF  byte = 0x0a
	CR  byte = 0x0d
	NAK byte = 0x15
	ETB byte = 0x17
)

// Most characters of text in a frame.
const (
	MaxText     = 240   // E1381-95 section 6.3.1.2
	MaxLongText = 64000 // LIS01-A2 section 8.3.1.2; a Decoder takes it from everybody
)

// maxFrame is the longest frame: text and STX, number, ETX, checksum, CR, LF.
const maxFrame = MaxLongText + 7

// AppendFrame appends a frame to dst: STX, number modulo 8, text, ETX where it is the last of its record and ETB where more
// follows, checksum, CR, LF (E1381 section 6.3.1).
func AppendFrame(dst []byte, number int, text []byte, last bool) []byte {
	from := len(dst)
	dst = append(append(dst, STX, '0'+byte(number&7)), text...)
	if last {
		dst = append(dst, ETX)
	} else {
		dst = append(dst, ETB)
	}
	const hex = "0123456789ABCDEF"
	sum := Checksum(dst[from+1:])
	return append(dst, hex[sum>>4], hex[sum&15], CR, LF)
}

// Frames cuts a message into frames: each record begins one of its own, and one that is longer than most characters goes on
// in further ones. The numbers count from 1. most is at least 1.
func Frames(message []byte, most int) (list [][]byte) {
	number := 1
	for len(message) > 0 {
		record := message
		if i := bytes.IndexByte(message, CR); i >= 0 {
			record = message[:i+1]
		}
		message = message[len(record):]
		for len(record) > 0 {
			part := record[:min(len(record), most)]
			record = record[len(part):]
			list = append(list, AppendFrame(nil, number, part, len(record) == 0))
			number++
		}
	}
	return list
}

// Checksum is the sum modulo 256 of a frame's bytes from its number to its ETB or ETX (E1381 section 6.3.3.1).
func Checksum(body []byte) (sum byte) {
	for _, c := range body {
		sum += c
	}
	return sum
}

// TokenKind says what a Token is.
type TokenKind byte

// Kinds of tokens.
const (
	TokenControl TokenKind = iota + 1 // ENQ, ACK, NAK or EOT
	TokenFrame                        // a whole frame whose checksum holds, or that has none
	TokenBad                          // a whole frame that cannot be taken, or one that is too long
	TokenCut                          // the beginning of a frame, where something else came
	TokenLoose                        // bytes outside of frames: noise, or records without frames
)

// Token is a part of what came over the line. Its slices are the decoder's, until its next call.
type Token struct {
	Kind    TokenKind
	Control byte   // of a TokenControl
	Number  int    // of a frame, 0 to 7
	Text    []byte // of a frame
	Last    bool   // the frame ends with ETX
	Summed  bool   // the frame has a checksum
	Reason  string // of a TokenBad: a Reject constant of package exam
	Raw     []byte // all its bytes
	Offset  int64  // of the first in all that was written
}

// Decoder cuts what comes over a line into tokens. It keeps a frame at most: what is written is to be read by Next before
// more is written. The zero Decoder is ready.
type Decoder struct {
	buf    []byte
	at     int   // first byte of buf that was not given
	seen   int   // bytes from at that hold no end of the frame
	gone   int64 // bytes that were given and are no longer in buf
	paused bool
}

// Write takes what came.
func (d *Decoder) Write(b []byte) {
	if d.at > 0 {
		d.gone += int64(d.at)
		d.buf = d.buf[:copy(d.buf, d.buf[d.at:])]
		d.at = 0
	}
	d.buf, d.paused = append(d.buf, b...), false
	if len(d.buf) == len(b) && cap(d.buf) > 4*maxFrame {
		d.buf = append([]byte(nil), b...) // it was large once
	}
}

// Pause says that the line is silent: a frame of which only CR LF or LF is missing is then whole, until the next Write.
func (d *Decoder) Pause() { d.paused = true }

// Rest gives what is not a token yet, and forgets it: the line has ended.
func (d *Decoder) Rest() Token {
	t := d.take(TokenCut, len(d.buf)-d.at)
	return t
}

// Len is how many bytes wait.
func (d *Decoder) Len() int { return len(d.buf) - d.at }

// offset is where the next token begins.
func (d *Decoder) offset() int64 { return d.gone + int64(d.at) }

// Next gives the next token, and false where more must come first.
func (d *Decoder) Next() (Token, bool) {
	data := d.buf[d.at:]
	if len(data) == 0 {
		return Token{}, false
	}
	switch data[0] {
	case ENQ, ACK, NAK, EOT:
		t := d.take(TokenControl, 1)
		t.Control = t.Raw[0]
		return t, true
	case STX:
		return d.frame(data)
	}
	n := bytes.IndexAny(data, "\x02\x04\x05\x06\x15")
	if n < 0 {
		n = len(data)
	}
	return d.take(TokenLoose, n), true
}

// take gives the next n bytes as a token.
func (d *Decoder) take(kind TokenKind, n int) Token {
	t := Token{Kind: kind, Raw: d.buf[d.at : d.at+n], Offset: d.offset()}
	d.at += n
	d.seen = 0
	return t
}

// back makes the last n bytes of the token that was just given the next ones again.
func (d *Decoder) back(n int) { d.at -= n }

// frame reads a frame. What breaks it off is the next token.
func (d *Decoder) frame(data []byte) (Token, bool) {
	i := max(d.seen, 1)
	for i < len(data) && data[i] != ETX && data[i] != ETB && !breaks(data[i]) {
		i++
	}
	switch {
	case i > MaxLongText+2:
		return d.bad(len(data[:i]), exam.RejectTooLarge), true
	case i == len(data):
		d.seen = i
		return Token{}, false
	case breaks(data[i]):
		return d.take(TokenCut, i), true
	}
	d.seen = i
	n, summed, whole := d.tail(data[i+1:])
	if !whole {
		return Token{}, false
	}
	sum := data[i+1:]
	n += i + 1
	switch {
	case i < 2 || data[1] < '0' || data[1] > '7':
		return d.bad(n, exam.RejectBadLength), true
	case summed && !isSum(sum, Checksum(data[1:i+1])):
		return d.bad(n, exam.RejectChecksum), true
	}
	t := d.take(TokenFrame, n)
	t.Number, t.Text, t.Last, t.Summed = int(t.Raw[1]-'0'), t.Raw[2:i], t.Raw[i] == ETX, summed
	return t, true
}

func (d *Decoder) bad(n int, reason string) Token {
	t := d.take(TokenBad, n)
	t.Reason = reason
	return t
}

// breaks says that a frame cannot go on behind c: its sender has begun again, or given up.
func breaks(c byte) bool { return c == STX || c == ENQ || c == EOT }

// tail measures what stands behind ETX or ETB: a checksum or none, and CR LF of which both may be missing where something
// else follows. LF is waited for until the line pauses. What is no checksum counts as a wrong one.
func (d *Decoder) tail(b []byte) (n int, summed, whole bool) {
	switch {
	case len(b) == 0:
		return 0, false, false
	case breaks(b[0]):
		return 0, false, true
	case b[0] != CR && b[0] != LF:
		summed = true
		for n < 2 && n < len(b) && b[n] != CR && b[n] != LF && !breaks(b[n]) {
			n++
		}
	}
	switch {
	case n == len(b):
		return n, summed, d.paused && n == 2
	case b[n] == LF:
		return n + 1, summed, true
	case b[n] != CR:
		return n, summed, true
	}
	n++
	switch {
	case n == len(b):
		return n, summed, d.paused
	case b[n] == LF:
		n++
	}
	return n, summed, true
}

// isSum says whether b begins with sum in two hexadecimal digits.
func isSum(b []byte, sum byte) bool {
	return len(b) > 1 && digit(b[0]) == int(sum>>4) && digit(b[1]) == int(sum&15)
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
