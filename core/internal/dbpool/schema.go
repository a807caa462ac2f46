package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tables of the host that a sink writes only by way of Once, or never.
const (
	tableReceipt = "ingest_receipt"
	tableVersion = "schema_version"
)

// migrations make the host's own tables, one text for each version, in order; each runs in one transaction with the
// note that it ran. One that was released is never changed: a change is a new one. Columns and units are described in
// docs/schema.md.
var migrations = []string{`
CREATE TABLE record (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  kind         TEXT NOT NULL,
  taken_at     TEXT,
  received_at  TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  labels       TEXT NOT NULL,
  data         BLOB,
  raw          BLOB,
  content_hash TEXT NOT NULL,
  amends       TEXT NOT NULL,
  unassigned   INTEGER NOT NULL,
  UNIQUE (source, record_id)
);
CREATE TABLE exam (
  source        TEXT NOT NULL,
  record_id     TEXT NOT NULL,
  patient_id    TEXT NOT NULL,
  patient_name  TEXT NOT NULL,
  patient_birth TEXT NOT NULL,
  patient_sex   TEXT NOT NULL,
  device_make   TEXT NOT NULL,
  device_model  TEXT NOT NULL,
  device_serial TEXT NOT NULL,
  taken_at      TEXT NOT NULL,
  received_at   TEXT NOT NULL,
  unassigned    INTEGER NOT NULL,
  warnings      TEXT NOT NULL,
  amended_by    TEXT NOT NULL,
  PRIMARY KEY (source, record_id)
);
CREATE INDEX exam_patient ON exam (patient_id);
CREATE INDEX exam_received ON exam (received_at);
CREATE TABLE observation (
  source     TEXT NOT NULL,
  record_id  TEXT NOT NULL,
  idx        INTEGER NOT NULL,
  code       TEXT NOT NULL,
  eye        TEXT NOT NULL,
  method     TEXT NOT NULL,
  seq        INTEGER NOT NULL,
  value_num  REAL,
  value_text TEXT NOT NULL,
  unit       TEXT NOT NULL,
  text       TEXT NOT NULL,
  flags      TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
) WITHOUT ROWID;
CREATE TABLE attachment (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  idx          INTEGER NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size         INTEGER NOT NULL,
  hash         TEXT NOT NULL,
  role         TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
) WITHOUT ROWID;
CREATE TABLE ingest_receipt (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  first_seen   TEXT NOT NULL,
  rows         INTEGER NOT NULL,
  PRIMARY KEY (source, record_id)
) WITHOUT ROWID;
`}

// migrate turns the file into one with a write-ahead log and runs the steps that it does not have.
func migrate(ctx context.Context, db *sql.DB, steps []string) error {
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return clean("prepare the file", err, "")
	}
	if mode != "wal" {
		return fmt.Errorf("prepare the file: it does not take a write-ahead log (it is in mode %s); check that it is on a local disk and that no other program has it open", mode)
	}
	for {
		more, err := step(ctx, db, steps)
		if err != nil || !more {
			return err
		}
	}
}

// step runs the next step in one transaction; false when there is none left.
func step(ctx context.Context, db *sql.DB, steps []string) (more bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, clean("begin to bring the tables up to date", err, "")
	}
	defer func() {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, clean("undo", undo, ""))
		}
	}()
	version := 0
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return false, clean("note the version of the tables", err, "")
	}
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version); err != nil {
		return false, clean("read the version of the tables", err, "")
	}
	if version > len(steps) {
		return false, fmt.Errorf("its tables have version %d and this hostd knows %d: it was used by a newer hostd; install that one again, or restore the database from before", version, len(steps))
	}
	if version < len(steps) {
		if _, err := tx.ExecContext(ctx, steps[version]); err != nil {
			return false, clean(fmt.Sprintf("bring the tables from version %d to %d", version, version+1), err, steps[version])
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES (?)", version+1); err != nil {
			return false, clean("note the version of the tables", err, "")
		}
	}
	if err := tx.Commit(); err != nil {
		return false, clean("commit the new tables", err, "")
	}
	return version < len(steps), nil
}
