package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// key says which message it is: the beginning of the SHA-256 that is its records' ID.
type key [12]byte

const (
	keyText   = 16                               // of a key in a position
	mostTold  = (sdk.MaxPosition - 32) / keyText // keys in a position
	mostKnown = 4096                             // keys that are remembered while the device is open
)

// told is a message that is on the host's disk, and whose sender may not have the answer.
type told struct {
	key key
	by  *exchange
}

// memory knows which messages the host has stored lately, so that one that comes again is answered and not stored again.
// It forgets the oldest: what is stored twice then is one by its ID. The session's mutex guards it.
type memory struct {
	known map[key]struct{} // on the host's disk
	order []key            // of known, a ring when it is full
	next  int              // in order, to be overwritten
	told  []told           // oldest first
	count uint64           // of positions
}

// newMemory knows what the position of an earlier session says. One that this program did not make is an error.
func newMemory(from sdk.Position) (*memory, error) {
	m := &memory{known: map[key]struct{}{}}
	if from == "" {
		return m, nil
	}
	count, keys, _ := strings.Cut(string(from), " ")
	n, err := strconv.ParseUint(count, 10, 64)
	if err != nil || len(keys)%keyText != 0 {
		return nil, fmt.Errorf("position of %d bytes was made by something else", len(from))
	}
	m.count = n
	for ; keys != ""; keys = keys[keyText:] {
		var k key
		if _, err := base64.RawURLEncoding.Decode(k[:], []byte(keys[:keyText])); err != nil {
			return nil, fmt.Errorf("position of %d bytes was made by something else: %w", len(from), err)
		}
		m.stored(k)
		m.told = append(m.told, told{key: k})
	}
	return m, nil
}

// knows says whether the message is on the host's disk.
func (m *memory) knows(k key) bool {
	_, ok := m.known[k]
	return ok
}

// stored remembers a message that is on the host's disk.
func (m *memory) stored(k key) {
	if m.knows(k) {
		return
	}
	m.known[k] = struct{}{}
	if len(m.order) < mostKnown {
		m.order = append(m.order, k)
		return
	}
	delete(m.known, m.order[m.next])
	m.order[m.next] = k
	m.next = (m.next + 1) % mostKnown
}

// after is the memory's told behind a batch of these messages, and the position that says so: they and those before them whose
// senders have not shown that they have the answer, the newest where they are too many. It counts when the batch is stored.
func (m *memory) after(messages []*message) (list []told, p sdk.Position) {
	for _, t := range m.told {
		if t.by == nil || !t.by.heard.Load() {
			list = append(list, t)
		}
	}
	for _, msg := range messages {
		list = append(list, told{key: msg.key, by: msg.by})
	}
	list = list[max(0, len(list)-mostTold):]
	m.count++
	text := make([]byte, 0, 24+len(list)*keyText)
	text = append(strconv.AppendUint(text, m.count, 10), ' ')
	for i := range list {
		text = base64.RawURLEncoding.AppendEncode(text, list[i].key[:])
	}
	return list, sdk.Position(text)
}
