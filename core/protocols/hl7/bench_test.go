package hl7_test

import (
	"fmt"
	"testing"

	"github.com/hostd/hostd/core/protocols/hl7"
)

// long is a message of n rows.
func long(n int) []byte {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("OBX|%d|NM|sphere^sphere^99EYE|R.%d|-1.50|[diop]^^UCUM|||||F|||20250314090500+0900|||autoref^^99EYE|SN-4410^ARK", i+1, i+1)
	}
	return oru(rows...)
}

// inputs are the messages that the benchmarks read: one of 1 KiB as an autorefractor sends it, and one of 256 KiB.
func inputs(b *testing.B) map[string][]byte {
	return map[string][]byte{
		"1KiB":       sample(b, "eye_oru_r01.hl7"),
		"korean1KiB": sample(b, "eye_oru_cp949_msh18_blank.hl7"),
		"256KiB":     long(2000),
	}
}

func bench(b *testing.B, do func([]byte) int) {
	for name, in := range inputs(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if do(in) == 0 {
					b.Fatal("nothing in it")
				}
			}
		})
	}
}

// BenchmarkParse parses a message and visits each of its fields.
func BenchmarkParse(b *testing.B) { bench(b, func(in []byte) int { return visit(parse(b, in)) }) }

// BenchmarkDecode makes exams of a message.
func BenchmarkDecode(b *testing.B) {
	bench(b, func(in []byte) int { return len(hl7.Decode(in, hl7.Options{}).Exams) })
}

// BenchmarkReceive does what a receiver does: frame, parse, identity, exams, reply.
func BenchmarkReceive(b *testing.B) {
	var s hl7.Scanner
	bench(b, func(in []byte) int {
		s.Write([]byte("\v"))
		s.Write(in)
		s.Write([]byte("\x1c\r"))
		p, ok := s.Next()
		if !ok {
			b.Fatal("no frame")
		}
		m := parse(b, p.Data)
		id, _ := m.Identity()
		r, _ := m.Exams(hl7.Options{})
		return len(id) * len(r.Exams) * len(hl7.AppendReply(nil, m, hl7.AA, hl7.Receipt{ControlID: "1"}))
	})
}
