package dbpool_test

import (
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// noted is a record that writes the row of its own sink.
func noted(chart, id, hash string) sdk.Once {
	return sdk.Once{Source: "lab", ID: id, Hash: hash, Seq: 7, Changes: []sdk.Change{insertVisit(chart)}}
}

func outcome(t *testing.T, s sdk.Store, o sdk.Once, want sdk.Outcome) {
	t.Helper()
	if out := mustWrite(t, s, o); out[0].Outcome != want {
		t.Errorf("record %s: outcome %d, want %d", o.ID, out[0].Outcome, want)
	}
}

func TestEachSinkHasReceiptsOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p := d.withClinic(t, dbpool.Options{})
		emr, pacs := p.Store("emr"), p.Store("pacs")
		outcome(t, emr, noted("emr", "1", "h"), sdk.Applied)
		outcome(t, pacs, noted("pacs", "1", "h"), sdk.Applied)
		outcome(t, emr, noted("emr again", "1", "h"), sdk.Duplicate)
		outcome(t, pacs, noted("pacs again", "1", "h"), sdk.Duplicate)
		outcome(t, pacs, noted("pacs other", "1", "h2"), sdk.Conflict)
		outcome(t, p.Store("emr"), noted("emr later", "1", "h"), sdk.Duplicate)
		if n := count(t, emr, "visit"); n != 2 {
			t.Errorf("%d visits, want one of each sink", n)
		}
		rows := query(t, emr, "SELECT sink, seq FROM ingest_receipt WHERE source = ? AND record_id = ? ORDER BY sink", "lab", "1")
		if len(rows) != 2 || rows[0][0] != "emr" || rows[1][0] != "pacs" || rows[1][1] != int64(7) {
			t.Errorf("receipts %v", rows)
		}
	})
}

// TestReceiptsFromBeforeSinksWereToldApart has a database of the first version, with a receipt in it.
func TestReceiptsFromBeforeSinksWereToldApart(t *testing.T) {
	const old = `INSERT INTO ingest_receipt (source, record_id, content_hash, seq, first_seen, rows)` +
		` VALUES ('lab', 'old', 'h', 3, '2026-03-02T09:30:00.000000000Z', 1), ('lab', 'older', 'h', 2, '2026-03-01T09:30:00.000000000Z', 1)`
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		if dbpool.Shipped(o.Driver) == 1 {
			t.Skip("it had them from its first version on")
		}
		first, err := dbpool.OpenVersions(t.Context(), o, 0, dbpool.Migrations(o.Driver)[0]+old)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		p := runs(t, o)
		emr, pacs := p.Store("emr"), p.Store("pacs")
		empty := func(id, hash string) sdk.Once { return sdk.Once{Source: "lab", ID: id, Hash: hash} }
		outcome(t, emr, empty("old", "h"), sdk.Duplicate)
		outcome(t, pacs, empty("old", "h"), sdk.Duplicate)
		outcome(t, pacs, empty("older", "h2"), sdk.Conflict)
		outcome(t, pacs, empty("new", "h"), sdk.Applied)
		outcome(t, emr, empty("new", "h"), sdk.Applied)
		rows := query(t, emr, "SELECT record_id, sink, seq FROM ingest_receipt ORDER BY seq, sink")
		if len(rows) != 4 || rows[2][0] != "older" || rows[2][1] != "" || rows[3][0] != "old" || rows[3][2] != int64(3) {
			t.Errorf("receipts %v", rows)
		}
		if n, err := dbpool.Purge(t.Context(), p, time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)); err != nil || n != 2 {
			t.Errorf("%d purged, %v; want the two old ones", n, err)
		}
	})
}
