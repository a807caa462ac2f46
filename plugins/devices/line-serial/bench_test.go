package main

import (
	"io"
	"testing"
)

// BenchmarkAnswer is the time from the last byte of a frame to the instrument's answer, with a host that stores at once: what
// the driver adds to the host's fsync.
func BenchmarkAnswer(b *testing.B) {
	r := newRig(b, "rc-5000", answered)
	p, err := (&Choice{Profile: "rc-5000"}).load()
	if err != nil {
		b.Fatal(err)
	}
	i, answer := newInstrument(p, 1, false, 0), make([]byte, 1)
	for b.Loop() {
		_, frame, err := i.exam()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.line.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(r.line, answer); err != nil || string(answer) != ack {
			b.Fatalf("%q, %v", answer, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/exam")
}
