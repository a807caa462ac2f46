package hl7

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// maxName is how much of a header field goes into an identity, in bytes.
const maxName = 100

// Identity tells a message from others: the digest is SHA-256 over all segments but MSH, each with CR behind it, so that
// other line ends make no other message; id is MSH-3, MSH-4, MSH-10 and 32 hex digits of the digest, joined by |, as valid
// UTF-8 of at most 400 bytes. A sender that repeats a message gives both again; one whose counter was reset does not.
func (m *Message) Identity() (id string, digest [32]byte) {
	sum := sha256.New()
	from, to := uint32(0), uint32(0) // segments with one CR between them are one piece
	for i, s := range m.spans {
		if m.Segment(i).Is("MSH") {
			continue
		}
		if s.from != to+1 || m.raw[to] != '\r' {
			m.add(sum, from, to)
			from = s.from
		}
		to = s.to
	}
	m.add(sum, from, to)
	sum.Sum(digest[:0])
	b := make([]byte, 0, 128)
	for _, n := range [...]int{3, 4, 10} {
		raw := m.Header(n)
		b = append(append(b, bytes.ToValidUTF8(raw[:min(len(raw), maxName)], []byte("?"))...), '|')
	}
	return string(hex.AppendEncode(b, digest[:16])), digest
}

// add takes a piece of the message, and a CR behind it.
func (m *Message) add(sum hash.Hash, from, to uint32) {
	if to > from {
		sum.Write(m.raw[from:to])
		sum.Write([]byte{'\r'})
	}
}
