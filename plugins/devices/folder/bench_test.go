package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// exam3K is an exam of 3 KiB, as refractometers leave them.
func exam3K(id string) string {
	text := joiaXML(id)
	return text + "<!--" + strings.Repeat(" ", max(0, 3<<10-len(text)-7)) + "-->"
}

func (r *rig) fill(files int) {
	r.t.Helper()
	for i := range files {
		r.write(fmt.Sprintf("M-Serial%05d_TOPCON.xml", i), exam3K(fmt.Sprint(i)))
	}
}

// BenchmarkImport reads, decodes and puts away 10,000 files of 3 KiB, without the host's part.
func BenchmarkImport(b *testing.B) {
	const files = 10_000
	for _, after := range []string{"move", "keep"} {
		b.Run(after, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r := newRig(b, map[string]any{"settle": "0s", "after": after})
				r.fill(files)
				r.mustOpen()
				b.StartTimer()
				for got := 0; got < files; {
					batch := r.read()
					got += len(batch.Records)
					r.ack(batch)
				}
				b.StopTimer()
				r.close()
				if err := os.RemoveAll(r.root); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(files*b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// BenchmarkScan looks through a folder of 100,000 files in which nothing is new, by turns with what the operating system takes for
// listing and looking at them: x-bare is the one by the other.
func BenchmarkScan(b *testing.B) {
	r := newRig(b, map[string]any{"settle": "0s", "existing": "ignore"})
	r.fill(100_000)
	r.mustOpen().poll()
	b.ReportAllocs()
	var scan, bare time.Duration
	for b.Loop() {
		start := time.Now()
		if n := len(r.read().Records); n > 0 {
			b.Fatalf("%d records", n)
		}
		scan += time.Since(start)
		b.StopTimer()
		start = time.Now()
		list, err := os.ReadDir(r.dir)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range list {
			if _, err := os.Lstat(filepath.Join(r.dir, e.Name())); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(scan.Seconds()/bare.Seconds(), "x-bare")
}

// BenchmarkMemory says what the device keeps in memory for each file of a folder: those that wait to settle,
// and those that are kept.
func BenchmarkMemory(b *testing.B) {
	const files = 20_000
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		r := newRig(b, map[string]any{"settle": "10m", "after": "keep"})
		for i := range files {
			r.write(fmt.Sprintf("M-Serial%06d_20250324_100215_TOPCON_KR-800S_7700421.xml", i), "")
		}
		r.mustOpen()
		before := heap()
		r.read()
		b.ReportMetric((heap()-before)/files, "B/waiting")
		for rel, s := range r.d.seen {
			r.d.remember(&work{rel: rel, stamp: s.stamp, key: pathKey(rel)})
			delete(r.d.seen, rel)
		}
		r.d.save()
		r.mustOpen()
		start := time.Now()
		r.read()
		b.ReportMetric((heap()-before)/files, "B/kept")
		b.ReportMetric(time.Since(start).Seconds()*1000, "ms/scan")
		runtime.KeepAlive(r)
	}
}
