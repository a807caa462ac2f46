package nidekrs_test

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/hostd/hostd/core/protocols/nidekrs"
)

// BenchmarkFrames cuts the bytes of a line into frames and checks their sums; BenchmarkExams also makes exams of them.
func BenchmarkFrames(b *testing.B) { bench(b, false) }

// BenchmarkExams is the whole way from bytes to exams.
func BenchmarkExams(b *testing.B) { bench(b, true) }

func bench(b *testing.B, exams bool) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as package serve has it for every plugin
	for _, name := range []string{"nidek-rs232/ark_full.bin", "nidek-rs232/lm_full.bin", "nidek-rs232/tonoref_full.bin", "nidek-rt/rt5100_full.bin"} {
		b.Run(name, func(b *testing.B) {
			data, err := os.ReadFile("testdata/" + name)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var framer nidekrs.Framer
			var reader nidekrs.Reader
			for b.Loop() {
				f, _, ok := framer.Next(data)
				if !ok || f.Kind == nidekrs.Rejected {
					b.Fatal("no frame")
				}
				if !exams {
					continue
				}
				if _, reject := reader.Read(&f); reject != nil {
					b.Fatal(reject.Detail)
				}
			}
		})
	}
}
