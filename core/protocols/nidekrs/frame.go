// Package nidekrs reads and writes what NIDEK's instruments say on a serial line: the frames of the AR, ARK, TONOREF, NT and
// LM units with their checksum, those of the RT refractors, the commands of the handshake, and the preset for a refractor.
//
//	bytes as they come -> Framer -> Frame -> Reader -> exam; or Control, or Reject
//
// The grammar of the first family was seen in real frames of an ARK-1a, a TONOREF III, an LM-7P and an LM-600P (testdata has
// its equals); that of the refractors is of NIDEK's manual MRT10*RTZ001J/E (2012) and of real RT-5100 frames.
package nidekrs

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Control characters of the line.
const (
	soh = 0x01
	stx = 0x02
	eot = 0x04
	lf  = 0x0a
	cr  = 0x0d
	etb = 0x17
)

// MaxFrame is the most bytes of a frame, and of a run of noise: one with more is a reject. The longest real frame, of a
// TONOREF III, has less than 1 KiB.
const MaxFrame = 64 << 10

// Kind says what a frame is.
type Kind uint8

// Kinds of frames.
const (
	Exam      Kind = iota + 1 // of the AR, ARK, TONOREF, NT and LM units; checked against its checksum, if it has one
	Refractor                 // of an RT refractor, which has no checksum
	Control                   // a command of the handshake, or a preset; see Frame.Control
	Rejected                  // what cannot be read; see Frame.Reject
)

// Frame is one frame, or a part of the stream that is none.
type Frame struct {
	Kind   Kind
	Raw    []byte // its bytes without CR and LF behind the end; the Framer's own until it is asked again
	Offset int64  // of its first byte in the stream
	Summed bool   // Exam: a checksum came with it, which is right
	reason string
	detail string
}

// Reject is why a frame of the kind Rejected cannot be read.
func (f *Frame) Reject() exam.Reject { return f.refuse(f.reason, f.detail) }

func (f *Frame) refuse(reason, detail string) exam.Reject {
	return exam.Reject{Reason: reason, Offset: f.Offset, Length: int64(len(f.Raw)), Detail: detail}
}

// Control is what a frame of the kind Control says: command and word ("C** RS", "CRK SD"), or the heads of a preset's blocks.
func (f *Frame) Control() (heads []string) {
	text, _, _ := strings.Cut(string(f.Raw[1:]), "\x04")
	word := ""
	for segment := range strings.SplitSeq(text, "\x17") {
		if head, rest, ok := strings.Cut(segment, "\x02"); ok {
			heads, word = append(heads, printable(head)), rest
		}
	}
	if len(heads) == 1 && heads[0] != "DRL" {
		heads[0] += " " + printable(word)
	}
	return heads
}

// IsRequest says whether the instrument asks to send: SOH C** STX RS ETB EOT, where the stars are real ones.
func (f *Frame) IsRequest() bool { return f.Kind == Control && string(f.Raw) == Command("C**", "RS") }

// IsReady says whether a refractor that was asked is ready for a preset: SOH CRL STX SD ETB EOT.
func (f *Frame) IsReady() bool { return f.Kind == Control && string(f.Raw) == Command("CRL", "SD") }

// Command is a command of the handshake: C** RS asks to send, CRK SD invites refraction and keratometry, CRM SD refraction,
// CLM SD a lens, CNt SD pressures, CPM SD thicknesses, CNP SD both, CRL SD is a refractor's answer. A CR must stand behind
// one that the host sends to an instrument (manual of the AR and LM units, "NIDEK" mode).
func Command(command, word string) string { return "\x01" + command + "\x02" + word + "\x17\x04" }

// Frames cuts a capture, behind whose end the line was silent. A frame is good until the next one.
func Frames(data []byte) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		var framer Framer
		for len(data) > 0 {
			f, n, ok := framer.Next(data)
			data = data[n:]
			if ok && !yield(f) {
				return
			}
		}
		for {
			f, ok := framer.Silence()
			if !ok || !yield(f) {
				return
			}
		}
	}
}

// Sum is the checksum of a frame from its first SOH to its EOT: the sum of all bytes but CR and LF, modulo 65536. On the wire
// it is four upper-case hex digits behind the EOT.
func Sum(frame []byte) (sum uint16) {
	const every2nd, all4 = 0x00ff00ff00ff00ff, 0x0001000100010001
	b := frame
	for ; len(b) >= 8; b = b[8:] {
		eight := binary.LittleEndian.Uint64(b)
		sum += uint16((eight&every2nd + eight>>8&every2nd) * all4 >> 48)
	}
	for _, c := range b {
		sum += uint16(c)
	}
	for _, c := range []byte{cr, lf} {
		sum -= uint16(c) * uint16(bytes.Count(frame, []byte{c}))
	}
	return sum
}

// Spoilt bytes are those with bit 7, and NUL, which a serial driver gives for a byte with a wrong parity or stop bit. So many in
// a run mean that the two ends are set differently; fewer are noise.
const (
	leastSpoilt = 16 // bytes of a run that are worth looking at
	spoiltShare = 4  // one in so many
)

// spoilt says whether the bytes look like those of a line that is set wrongly, and what to check.
func spoilt(b []byte) (detail string, yes bool) {
	if len(b) < leastSpoilt {
		return "", false
	}
	if strange(b)*spoiltShare < len(b) {
		return "", false
	}
	high, even := 0, 0
	for _, c := range b {
		high += int(c >> 7)
		even += 1 - bits.OnesCount8(c)&1
	}
	switch {
	case high > 0 && even*16 >= len(b)*15:
		return "check parity: the bytes are those of 7 data bits with even parity, read as 8 data bits", true
	case high > 0 && even*16 <= len(b):
		return "check parity: the bytes are those of 7 data bits with odd parity, read as 8 data bits", true
	}
	return "check parity, data bits and baud: many bytes are none of the protocol's", true
}

// strange is how many bytes have bit 7 or are NUL. It looks at eight at once: 127 more sets bit 7 of all others.
func strange(b []byte) (n int) {
	const low7, bit7 = 0x7f7f7f7f7f7f7f7f, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		eight := binary.LittleEndian.Uint64(b)
		n += bits.OnesCount64((eight | ^(eight&low7 + low7)) & bit7)
	}
	for _, c := range b {
		if c-1 >= 0x7f {
			n++
		}
	}
	return n
}

// blocks gives head and body of each block of a frame; the body ends before the next SOH or the EOT.
func blocks(s string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if end := strings.IndexByte(s, eot); end >= 0 {
			s = s[:end]
		}
		for s != "" {
			s = s[1:] // its SOH
			block := s
			if next := strings.IndexByte(s, soh); next >= 0 {
				block = s[:next]
			}
			s = s[len(block):]
			head, body, _ := strings.Cut(block, "\x02")
			if !yield(head, body) {
				return
			}
		}
	}
}

// printable is s without what is no visible ASCII.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
