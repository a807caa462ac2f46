package spool

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var findRecords = flag.Int("find-records", 1_000_000, "records of the log that is searched")

// BenchmarkFind is one look-up in a log of records of about 300 bytes whose files are in the page cache, and the making of its
// index files, with their size.
func BenchmarkFind(b *testing.B) {
	opt := Options{Describe: describeText, IndexKey: []byte("k"), Keep: time.Hour}
	s := start(b, b.TempDir(), opt)
	s.sink(b, "emr")
	n, filler := 0, string(make([]byte, 200))
	for n < *findRecords {
		bt := Batch{Device: "d"}
		for range 1000 {
			bt.Records = append(bt.Records, Entry{Payload: fmt.Appendf(nil, "id-%d;exam.oct;p-%d;;%s", n, n/5, filler), Sinks: 1})
			n++
		}
		if err := s.Append(context.Background(), bt, func(error) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.put(batch("d", 0, "last;k;p;;")); err != nil {
		b.Fatal(err)
	}
	for _, p := range s.places() { // Run may not have done all
		if _, err := s.index.table(b.Context(), p, new([]byte), func(*tableHead) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
	for name, q := range map[string]Lookup{
		"id/oldest": {ID: "id-0"}, "id/middle": {ID: fmt.Sprint("id-", n/2)}, "id/unknown": {ID: "nobody"},
		"patient": {Patient: "p-77"}, "seq": {Seq: uint64(n / 2)},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				finds(b, s.Spool, q)
			}
		})
	}
	b.Run("make", func(b *testing.B) {
		p := s.places()[0]
		for range b.N {
			t, err := s.index.scan(b.Context(), p)
			if err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(s.index.path(p))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(t.head.records), "B/record")
			b.ReportMetric(float64(t.head.records)*float64(b.N)/b.Elapsed().Seconds(), "rec/s")
		}
	})
	b.StopTimer()
	s.stop()
}
