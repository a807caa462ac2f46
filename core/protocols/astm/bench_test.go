package astm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
)

// BenchmarkLink plays a transfer of 100 frames to a link, without a line.
func BenchmarkLink(b *testing.B) {
	text := "H|\\^&|||LAB\r" + strings.Repeat("R|1|^^^GLU|98|mg/dL|70^110|N||F||||20250314091200|A1\r", 98) + "L|1|N\r"
	list := astm.Frames([]byte(text), astm.MaxText)
	size := 0
	for _, f := range list {
		size += len(f)
	}
	now := time.Unix(0, 0)
	l := astm.NewLink(astm.LinkOptions{})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		l.Receive(now, []byte{astm.ENQ})
		for _, f := range list {
			l.Receive(now, f)
			l.Take()
		}
		l.Safe(now)
		l.Receive(now, []byte{astm.EOT})
		l.Take()
	}
}

// BenchmarkRead makes exams of a message with 100 results.
func BenchmarkRead(b *testing.B) {
	m := astm.Message("H|\\^&|||LAB\rP|1|7\rO|1|S\r" + strings.Repeat("R|1|^^^GLU|98|mg/dL|70^110|N||F||||20250314091200|A1\r", 100) + "L|1|N\r")
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if f, err := m.Read(astm.Options{}); err != nil || len(f.Orders) != 1 {
			b.Fatal(f, err)
		}
	}
}
