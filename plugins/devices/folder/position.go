package main

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// A position names the content of the batch that it ends: "f1 KEY[:MASK],...", KEY in 32 hex digits, MASK in hex: bit n
// is set when the attachment with number n was sent. With it, Open puts away what was stored just before a crash.
const positionHead = "f1 "

type storedKey struct {
	key  key
	mask uint64
}

func (b *batch) position() sdk.Position {
	out := []byte(positionHead)
	for _, list := range [][]*work{b.works, b.amended} {
		for _, w := range list {
			if len(out) > len(positionHead) {
				out = append(out, ',')
			}
			out = hex.AppendEncode(out, w.key[:])
			if w.mask != 0 {
				out = strconv.AppendUint(append(out, ':'), w.mask, 16)
			}
		}
	}
	return sdk.Position(out)
}

// parsePosition reads what position made; false where it was made by something else.
func parsePosition(p sdk.Position) ([]storedKey, bool) {
	if p == "" {
		return nil, true
	}
	rest, ok := strings.CutPrefix(string(p), positionHead)
	if !ok {
		return nil, false
	}
	if rest == "" {
		return nil, true // in the middle of a file of many exams
	}
	var list []storedKey
	for part := range strings.SplitSeq(rest, ",") {
		name, mask, masked := strings.Cut(part, ":")
		s := storedKey{}
		if !parseKey(name, &s.key) {
			return nil, false
		}
		if masked {
			m, err := strconv.ParseUint(mask, 16, 64)
			if err != nil {
				return nil, false
			}
			s.mask = m
		}
		list = append(list, s)
	}
	return list, true
}

func parseKey(text string, k *key) bool {
	if len(text) != 2*len(k) {
		return false
	}
	_, err := hex.Decode(k[:], []byte(text))
	return err == nil
}
