package dbpool_test

import (
	"path/filepath"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

func receipts(t *testing.T, s sdk.Store, from, to int) {
	t.Helper()
	var changes []sdk.Change
	for n := from; n < to; n++ {
		changes = append(changes, sdk.Once{Source: "ark-1", ID: idOf(n), Hash: hashOf(n), Seq: uint64(n)})
	}
	mustWrite(t, s, changes...)
}

// age makes the receipts below the number as old as the time.
func age(t *testing.T, s sdk.Store, below int, seen time.Time) {
	t.Helper()
	mustWrite(t, s, sdk.Exec{SQL: "UPDATE ingest_receipt SET first_seen = ? WHERE seq < ?", Args: []any{seen, below}, Want: -1})
}

func TestOldReceiptsGoInBatches(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		var log lines
		p := d.withClinic(t, dbpool.Options{QueryLog: true, Log: log.logger()})
		s := p.Store("emr")
		receipts(t, s, 0, 3000)
		limit := time.Now().Add(-400 * 24 * time.Hour)
		age(t, s, 2400, limit.Add(-time.Hour))
		age(t, s, 100, limit.Add(time.Hour)) // nearly old enough
		before := p.Stats().Commits
		n, err := dbpool.Purge(t.Context(), p, limit)
		if err != nil || n != 2300 {
			t.Errorf("%d deleted, %v; want 2300", n, err)
		}
		if c := p.Stats().Commits - before; c != 3 {
			t.Errorf("in %d transactions, want 3", c)
		}
		if left := query(t, s, "SELECT count(*), min(seq), max(seq), sum(CASE WHEN seq < 100 THEN 1 ELSE 0 END) FROM ingest_receipt")[0]; left[0] != int64(700) || left[1] != int64(0) || left[2] != int64(2999) || left[3] != int64(100) {
			t.Errorf("left: %v", left)
		}
		if !regexp.MustCompile(`holder=hostd statement="DELETE (TOP \(\?\) )?FROM ingest_receipt`).MatchString(log.String()) {
			t.Error("the host does not hold its leases by its own name")
		}
		if n, err := dbpool.Purge(t.Context(), p, limit); n != 0 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
	})
}

// TestReceiptsArePurgedWithTime lets an hour pass, and the window of the receipts.
func TestReceiptsArePurgedWithTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hostd.db")
	synctest.Test(t, func(t *testing.T) {
		p := runs(t, dbpool.Options{Path: path, ReceiptWindow: 90 * time.Minute})
		s := p.Store("emr")
		receipts(t, s, 0, 10)
		for _, step := range []struct {
			after time.Duration
			want  int64
		}{{2 * time.Minute, 10}, {time.Hour, 10}, {time.Hour, 0}} {
			time.Sleep(step.after)
			synctest.Wait()
			if n := count(t, s, "ingest_receipt"); n != step.want {
				t.Errorf("%d receipts, want %d", n, step.want)
			}
		}
	})
}
