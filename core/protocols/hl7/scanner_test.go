package hl7_test

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/hl7"
)

// parts scans a stream that comes in pieces of size bytes.
func parts(data []byte, size int) iter.Seq[hl7.Part] { return partsOf(&hl7.Scanner{}, data, size) }

func partsOf(s *hl7.Scanner, data []byte, size int) iter.Seq[hl7.Part] {
	return func(yield func(hl7.Part) bool) {
		for from := 0; from < len(data); from += size {
			s.Write(data[from:min(from+size, len(data))])
			for p, ok := s.Next(); ok; p, ok = s.Next() {
				if !yield(p) {
					return
				}
			}
		}
		s.Close()
		for p, ok := s.Next(); ok; p, ok = s.Next() {
			if !yield(p) {
				return
			}
		}
	}
}

// told is what the parts are, in words.
func told(all iter.Seq[hl7.Part]) (list []string) {
	names := map[hl7.PartKind]string{
		hl7.Frame: "frame", hl7.CommitAck: "ack", hl7.CommitNak: "nak", hl7.Noise: "noise", hl7.Truncated: "truncated", hl7.TooLarge: "too large",
	}
	for p := range all {
		list = append(list, fmt.Sprintf("%s %d+%d %q", names[p.Kind], p.Offset, p.Length, p.Data))
	}
	return list
}

func TestScanner(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"two":                {"\va\x1c\r\vb\x1c\r", []string{`frame 0+3 "a"`, `frame 4+3 "b"`}},
		"no final CR":        {"\va\x1c\vb\x1c", []string{`frame 0+3 "a"`, `frame 3+3 "b"`}},
		"LF behind":          {"\va\x1c\r\n\vb\x1c\n\vc\x1c\r", []string{`frame 0+3 "a"`, `frame 5+3 "b"`, `frame 9+3 "c"`}},
		"noise":              {"xy\va\x1c\rz\r\n", []string{`noise 0+2 "xy"`, `frame 2+3 "a"`, `noise 6+3 "z\r\n"`}},
		"second VT":          {"\vab\vc\x1c\r", []string{`truncated 0+3 "\vab"`, `frame 3+3 "c"`}},
		"cut":                {"\vab", []string{`truncated 0+3 "\vab"`}},
		"VT alone":           {"\v", []string{`truncated 0+1 "\v"`}},
		"FS alone":           {"\x1c\r", []string{`noise 0+2 "\x1c\r"`}},
		"empty":              {"\v\x1c\r", []string{`frame 0+2 ""`}},
		"commit":             {"\v\x06\x1c\r\v\x15\x1c\r", []string{`ack 0+3 "\x06"`, `nak 4+3 "\x15"`}},
		"at the limit":       {"\v" + strings.Repeat("a", 10) + "\x1c\r", []string{`frame 0+12 "aaaaaaaaaa"`}},
		"one more":           {"\v" + strings.Repeat("a", 11) + "\x1c\r\vb\x1c\r", []string{`too large 0+12 "\vaaaaaaaaaaa"`, `frame 14+3 "b"`}},
		"much more, then VT": {"\v" + strings.Repeat("a", 50) + "\vb\x1c\r", []string{`too large 0+12 "\vaaaaaaaaaaa"`, `frame 51+3 "b"`}},
		"much noise":         {strings.Repeat("n", hl7.MaxNoise+1) + "\v\x1c", []string{fmt.Sprintf("noise 0+%d %q", hl7.MaxNoise, strings.Repeat("n", hl7.MaxNoise)), fmt.Sprintf(`noise %d+1 "n"`, hl7.MaxNoise), fmt.Sprintf(`frame %d+2 ""`, hl7.MaxNoise+1)}},
		"nothing":            {"", nil},
	} {
		for size := 1; size <= max(1, min(len(c.in), 60)); size++ {
			if got := told(partsOf(&hl7.Scanner{Max: 10}, []byte(c.in), size)); !slices.Equal(got, c.want) {
				t.Errorf("%s, %d bytes at a time:\n%q, want\n%q", name, size, got, c.want)
			}
		}
	}
}

// A frame is there with its FS: a sender that leaves the CR out and waits gets its answer.
func TestScannerGivesAtOnce(t *testing.T) {
	var s hl7.Scanner
	s.Write([]byte("\va"))
	if p, ok := s.Next(); ok || !s.Open() || s.Buffered() != 2 {
		t.Errorf("half a frame is %v", p)
	}
	s.Write([]byte("\x1c"))
	if p, ok := s.Next(); !ok || string(p.Data) != "a" || s.Open() || s.Buffered() != 0 {
		t.Errorf("frame without CR: %v, %v", p, ok)
	}
	s.Write([]byte("\vb"))
	s.Reset()
	s.Write([]byte("\vc\x1c"))
	if p, ok := s.Next(); !ok || string(p.Data) != "c" || p.Offset != 0 {
		t.Errorf("after Reset: %v, %v", p, ok)
	}
}

// A scanner uses its memory again, and lets go of much of it when it is empty.
func TestScannerMemory(t *testing.T) {
	for size, want := range map[int]float64{100: 0, 1 << 20: 1} {
		var s hl7.Scanner
		frame := []byte("\v" + strings.Repeat("x", size) + "\x1c\r")
		n := testing.AllocsPerRun(10, func() {
			s.Write(frame)
			if p, ok := s.Next(); !ok || len(p.Data) != size {
				t.Fatal("no frame")
			}
			if _, ok := s.Next(); ok {
				t.Fatal("another part")
			}
		})
		if n != want {
			t.Errorf("frames of %d bytes: %v allocations each, want %v", size, n, want)
		}
	}
}

// FuzzScanner: every byte of a stream is in one part or is an end mark, wherever the stream is split.
func FuzzScanner(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Add([]byte("x\va\v\x06\x1c\r\v\x1c\n\n\vbbbbbbbbbbbbbbbbbbbbbbbb\x1c\vc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 20
		whole := told(partsOf(&hl7.Scanner{Max: limit}, data, max(1, len(data))))
		for _, size := range []int{1, 2, 7} {
			if got := told(partsOf(&hl7.Scanner{Max: limit}, data, size)); !slices.Equal(got, whole) {
				t.Fatalf("%d bytes at a time:\n%q, want\n%q", size, got, whole)
			}
		}
		at, skipping := int64(0), false
		for p := range parts(data, max(1, len(data))) {
			if p.Offset < at || p.Offset+p.Length > int64(len(data)) {
				t.Fatalf("part %d+%d behind %d", p.Offset, p.Length, at)
			}
			if between := data[at:p.Offset]; !skipping && len(bytes.Trim(between, "\r\n")) > 0 {
				t.Fatalf("%q is in no part", between)
			}
			if !bytes.Contains(data[p.Offset:p.Offset+p.Length], p.Data) {
				t.Fatalf("part %d+%d is %q", p.Offset, p.Length, p.Data)
			}
			at, skipping = p.Offset+p.Length, p.Kind == hl7.TooLarge
		}
		if left := data[at:]; len(bytes.Trim(left, "\r\n")) > 0 {
			t.Fatalf("%q is in no part", left)
		}
	})
}
