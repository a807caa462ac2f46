package spool

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
)

const (
	fuzzSalt = 0x0badcafe
	fuzzPath = "data/spool/0000000001-0badcafe.seg"
)

// resalt is the log data of a small spool as a file with fuzzSalt, so that every process that fuzzes means the same.
func resalt(f *testing.F, groups int) []byte {
	d, _, path := small(f, groups)
	data := d.names[path].data
	var out, body []byte
	for at := 0; at < len(data); {
		h := loadHeader(data[at:])
		end := at + headerSize + int(h.length)
		if h.kind == kindTrailer {
			out, body = append(out, seal(body, fuzzSalt, h.seq)...), nil
		} else {
			body = append(body, data[at:end]...)
		}
		at = end
	}
	return out
}

// FuzzOpen opens a folder whose newest segment is any bytes: no panic, no failure, and intake goes on.
func FuzzOpen(f *testing.F) {
	good := resalt(f, 3)
	f.Add(good)
	f.Add([]byte{})
	f.Add(make([]byte, 3*sector))
	f.Add(append(slices.Clone(good[:len(good)-7]), make([]byte, 600)...))
	f.Add(append(slices.Clone(good), good...))
	huge := appendFrame(nil, header{kind: kindRecord, num: 1 << 31, seq: 1 << 63, b: ^uint64(0)}, nil)
	sealHeaders(huge, fuzzSalt)
	f.Add(huge)
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newMemDisk()
		d.names[filepath.FromSlash(fuzzPath)] = &memFile{data: slices.Clone(data), synced: slices.Clone(data), cut: 1 << 62}
		s, err := Open("data/spool", Options{disk: d.disk(), SegmentSize: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id, err := s.RegisterSink("emr")
		if err != nil {
			t.Fatal(err)
		}
		var answer error
		if err := s.Append(t.Context(), batch("new", SinkSet(0).With(id), "new"), func(err error) { answer = err }); err != nil {
			t.Fatal(err)
		}
		_ = s.commit(false)
		refs := drain(t, s, id)
		if n := len(refs); answer != nil || n == 0 || string(refs[n-1].Payload) != "new" {
			t.Fatalf("answer %v, %d records", answer, n)
		}
	})
}

// FuzzScanner holds that frames and damage together cover the input once, and that the window stays small.
func FuzzScanner(f *testing.F) {
	f.Add(resalt(f, 2))
	f.Add(bytes.Repeat(magicBytes, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := int64(0)
		c := scanner{src: bytes.NewReader(data), salt: fuzzSalt, end: int64(len(data))}
		c.bad = func(b span) {
			if b.from != at || b.to <= b.from {
				t.Fatalf("damage %v after %d", b, at)
			}
			at = b.to
		}
		for {
			fr, ok, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if fr.off != at || !bytes.Equal(fr.raw, data[at:at+int64(len(fr.raw))]) {
				t.Fatalf("frame at %d after %d", fr.off, at)
			}
			at += int64(len(fr.raw))
		}
		if at != int64(len(data)) || cap(c.buf) > len(data)+chunk {
			t.Fatalf("covered %d of %d, window %d", at, len(data), cap(c.buf))
		}
	})
}

func FuzzState(f *testing.F) {
	s := &state{next: 9, sinks: []sinkState{{name: "emr", last: 3}}, devices: []deviceState{{name: "ark-1", position: []byte("p"), known: true}}}
	f.Add(s.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := decodeState(7, data)
		if !ok {
			return
		}
		again, ok := decodeState(7, s.encode())
		if !ok || !bytes.Equal(again.encode(), s.encode()) {
			t.Fatal("a state does not come back")
		}
	})
}
