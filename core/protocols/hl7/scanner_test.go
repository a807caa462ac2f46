package hl7_test

import (
	"iter"

	"github.com/hostd/hostd/core/protocols/hl7"
)

// parts scans a stream that comes in pieces of size bytes.
func parts(data []byte, size int) iter.Seq[hl7.Part] {
	return func(yield func(hl7.Part) bool) {
		var s hl7.Scanner
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
