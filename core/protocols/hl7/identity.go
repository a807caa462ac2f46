package hl7

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is how much of a header field goes into an identity, in bytes.
const maxName = 100

// Identity tells a message from others: the digest is SHA-256 over all segments but MSH, each with CR behind it, so that
// other line ends make no other message; id is MSH-3, MSH-4, MSH-10 and 32 hex digits of the digest, joined by |, as valid
// UTF-8 of at most 400 bytes. A sender that repeats a message gives both again; one whose counter was reset does not.
func (m *Message) Identity() (id string, digest [32]byte) {
	sum := sha256.New()
	for s := range m.Segments() {
		if !s.Is("MSH") {
			sum.Write(s.raw)
			sum.Write([]byte{'\r'})
		}
	}
	sum.Sum(digest[:0])
	var parts []string
	for _, n := range []int{3, 4, 10} {
		raw := m.Header(n)
		parts = append(parts, strings.ToValidUTF8(string(raw[:min(len(raw), maxName)]), "?"))
	}
	return strings.Join(append(parts, hex.EncodeToString(digest[:16])), "|"), digest
}
