package host

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/route"
	"github.com/hostd/hostd/core/internal/schedule"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// BenchmarkGroupCommit is what one worker takes of 64 devices beside what it takes of one, in turns on the same disk: each device
// has a record of 1 KiB checked, routed and stored, and makes the next when that one is acknowledged. Only the plugins are left
// out. The ratio is the figure.
func BenchmarkGroupCommit(b *testing.B) {
	const devices, each = 64, 32
	s, err := spool.Open(filepath.Join(b.TempDir(), "spool"), spool.Options{Describe: describe, IndexKey: make([]byte, indexKeySize)})
	if err != nil {
		b.Fatal(err)
	}
	id, err := s.RegisterSink("emr")
	if err != nil {
		b.Fatal(err)
	}
	table, err := route.New(nil, []string{"emr"})
	if err != nil {
		b.Fatal(err)
	}
	h := &Host{workers: schedule.New(schedule.Options{Size: 1, Queue: 256}), intake: newIntake(s, slog.New(slog.DiscardHandler))}
	h.intake.routing.Store(&routing{table: table, sinks: []spool.SinkID{id}})
	g := life.NewGroup(context.Background())
	g.Go("spool", s.Run)
	g.Go("workers", h.workers.Run)
	var one, many time.Duration
	for b.Loop() {
		began := time.Now()
		storeFrom(b, h, 1, each)
		between := time.Now()
		storeFrom(b, h, devices, each)
		one, many = one+between.Sub(began), many+time.Since(between)
	}
	alone, together := float64(each*b.N)/one.Seconds(), float64(devices*each*b.N)/many.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(alone, "one-rec/s")
	b.ReportMetric(together, "64-rec/s")
	b.ReportMetric(together/alone, "ratio")
	g.Cancel()
	if err := g.Wait(); err != nil {
		b.Error(err)
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// storeFrom has so many devices store a number of records each, one after the other.
func storeFrom(b *testing.B, h *Host, devices, each int) {
	b.Helper()
	g := life.NewGroup(context.Background())
	for d := range devices {
		name := fmt.Sprint("device-", d)
		g.Go(name, func(ctx context.Context) error {
			answers := make(chan error, 1)
			for n := range each {
				rec := wire.AppendRecord(nil, &sdk.Record{ID: fmt.Sprint(n), Kind: "exam", Data: bytes.Repeat([]byte("1234567 "), 128)})
				batch := &supervise.DeviceBatch{
					Device: name, In: &wire.Incoming{Records: [][]byte{rec}, Next: []byte("1")}, Answer: func(err error) { answers <- err },
				}
				err := h.deviceWork(ctx, name, false, func(ctx context.Context) { h.intake.Take(ctx, batch) })
				if err == nil {
					err = <-answers
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
