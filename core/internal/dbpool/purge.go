package dbpool

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// hostName is the holder of the host's own leases.
const hostName = "hostd"

const (
	firstPurge = time.Minute // after the start, which has other things to do
	purgeEvery = time.Hour
	purgeBatch = 1000 // receipts in one lease
)

// purgeByKey deletes old receipts, where rows can be compared with those of a query.
var purgeByKey = "DELETE FROM ingest_receipt WHERE (source, record_id, sink) IN" +
	" (SELECT source, record_id, sink FROM ingest_receipt WHERE first_seen < ? ORDER BY first_seen LIMIT " + strconv.Itoa(purgeBatch) + ")"

// purgeReceipts deletes receipts beyond their window, now and then, until ctx ends. Each batch is a lease of the host's
// own, in turn with those of the sinks.
func (p *Pool) purgeReceipts(ctx context.Context) error {
	own := &store{pool: p, line: p.guard.host()}
	next := time.NewTimer(firstPurge)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		}
		n, err := own.purge(ctx, time.Now().Add(-p.limits.Load().ReceiptWindow))
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped):
			p.log.Warn("old receipts not deleted; it is tried again", "deleted", n, "err", err)
		case n > 0:
			p.log.Info("old receipts deleted", "deleted", n)
		}
		next.Reset(purgeEvery)
	}
}

// purge deletes the receipts that were first seen before the time, batch by batch.
func (s *store) purge(ctx context.Context, before time.Time) (n int64, err error) {
	for {
		c, err := s.pool.dialect.read([]sdk.Change{sdk.Exec{SQL: s.pool.dialect.purge, Args: []any{before}, Want: -1}})
		if err != nil {
			return n, err
		}
		c.execs, c.tables = false, map[string]bool{tableReceipt: true} // it is known what it changes
		done, err := s.submit(ctx, c)
		if err != nil {
			return n, err
		}
		n += done[0].Rows
		if done[0].Rows < purgeBatch {
			return n, nil
		}
	}
}
