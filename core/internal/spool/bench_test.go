package spool

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// report adds records per second to the figures of a benchmark.
func report(b *testing.B, records int) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "rec/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRawAppend is the disk's own rate: write, sync, one after the other. The others are to be read as a ratio to
// it, in the same run.
func BenchmarkRawAppend(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			buf := make([]byte, n<<10)
			b.ResetTimer()
			for range b.N {
				if _, err := f.Write(buf); err != nil {
					b.Fatal(err)
				}
				if err := datasync(f); err != nil {
					b.Fatal(err)
				}
			}
			report(b, b.N*n)
		})
	}
}

// BenchmarkOneWriter is a single writer of single records of 1 KiB beside the disk's own rate, in turns of 50 so that both meet the same
// disk: the ratio is the figure.
func BenchmarkOneWriter(b *testing.B) {
	dir := b.TempDir()
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	s := start(b, filepath.Join(dir, "spool"), Options{})
	payload := make([]byte, 1<<10)
	bt := Batch{Device: "d", HasPosition: true, Position: []byte("1"), Records: []Entry{{Payload: payload}}}
	var raw, ours time.Duration
	for b.Loop() {
		began := time.Now()
		for range 50 {
			if _, err := f.Write(payload); err != nil {
				b.Fatal(err)
			}
			if err := datasync(f); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		for range 50 {
			if err := s.put(bt); err != nil {
				b.Fatal(err)
			}
		}
		raw += between.Sub(began)
		ours += time.Since(between)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(50*float64(b.N)/raw.Seconds(), "raw-rec/s")
	b.ReportMetric(50*float64(b.N)/ours.Seconds(), "rec/s")
	b.ReportMetric(float64(raw)/float64(ours), "of-raw")
	s.stop()
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, batch, window int }{{1, 1, 1}, {8, 1, 1}, {64, 1, 1}, {1, 64, 1}, {8, 64, 1}, {8, 256, 1}, {4, 256, 8}} {
		b.Run(fmt.Sprintf("writers=%d/batch=%d/window=%d", c.writers, c.batch, c.window), func(b *testing.B) {
			s := start(b, b.TempDir(), Options{})
			benchAppend(b, s, c.writers, c.batch, c.window)
			report(b, b.N*c.batch)
			b.StopTimer()
			s.stop()
		})
	}
}

// BenchmarkAppendIndexed is BenchmarkAppend beside the making of index files, and without it.
func BenchmarkAppendIndexed(b *testing.B) {
	for name, describe := range map[string]func([]byte) (Description, error){"with": describeText, "without": nil} {
		b.Run(name, func(b *testing.B) {
			s := start(b, b.TempDir(), Options{Describe: describe, IndexKey: []byte("k"), SegmentSize: 16 << 20})
			benchAppend(b, s, 8, 64, 1)
			report(b, b.N*64)
			b.StopTimer()
			s.stop()
		})
	}
}

// benchAppend appends b.N batches of records of 1 KiB from several writers, each with a window of open batches.
func benchAppend(b *testing.B, s *running, writers, size, window int) {
	payload := append([]byte("id-1;exam.oct;p-1;;"), make([]byte, 1<<10-19)...)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			bt := Batch{Device: fmt.Sprint("d", w), HasPosition: true, Position: []byte("1")}
			for range size {
				bt.Records = append(bt.Records, Entry{Payload: payload})
			}
			open := make(chan error, window)
			for range window {
				open <- nil
			}
			done := func(err error) { open <- err }
			for left.Add(-1) >= 0 {
				if err := <-open; err != nil {
					b.Error(err)
				}
				if err := s.Append(context.Background(), bt, done); err != nil {
					b.Error(err)
				}
			}
			for range window {
				<-open
			}
		})
	}
	wg.Wait()
}

// BenchmarkReadSettle is a sink's side: leases of up to 1,000 records of 1 KiB, each settled.
func BenchmarkReadSettle(b *testing.B) {
	s := start(b, b.TempDir(), Options{})
	id := s.sink(b, "a")
	bt := Batch{Device: "d"}
	for range 256 {
		bt.Records = append(bt.Records, Entry{Payload: make([]byte, 1<<10), Sinks: 1})
	}
	for n := 0; n < b.N; n += 256 {
		if err := s.Append(b.Context(), bt, func(error) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.put(bt); err != nil {
		b.Fatal(err)
	}
	r, err := s.Reader(id)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		l, err := r.Next(b.Context(), 1000, 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		n += len(l.Records)
		if err := s.Settle(id, l.Records[len(l.Records)-1].Seq, len(l.Records), 0); err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
	report(b, b.N)
	b.StopTimer()
	r.Close()
	s.stop()
}

// BenchmarkSealing is what AES-256-GCM costs beside the same intake in plain: a ratio, in the same run.
func BenchmarkSealing(b *testing.B) {
	for name, o := range map[string]Options{"plain": {}, "sealed": {Seal: true, Key: make([]byte, keySize)}} {
		b.Run(name, func(b *testing.B) {
			s := start(b, b.TempDir(), o)
			benchAppend(b, s, 8, 64, 1)
			report(b, b.N*64)
			b.StopTimer()
			s.stop()
		})
	}
}

var backlog = flag.Int("backlog", 1_000_000, "of BenchmarkBacklogHeap: records that wait")

// BenchmarkBacklogHeap is the live heap of a spool in which records wait, above that of an empty one.
func BenchmarkBacklogHeap(b *testing.B) {
	for range b.N {
		s := start(b, b.TempDir(), Options{})
		s.sink(b, "emr")
		empty := liveHeap()
		bt := Batch{Device: "d"}
		for range 1000 {
			bt.Records = append(bt.Records, Entry{Payload: make([]byte, 64), Sinks: 1})
		}
		for range *backlog / 1000 {
			if err := s.Append(b.Context(), bt, func(error) {}); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.put(bt); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Stats().Sinks[0].Backlog), "waiting")
		b.ReportMetric(float64(liveHeap()-empty)/(1<<20), "MiB-above-empty")
		s.stop()
	}
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
