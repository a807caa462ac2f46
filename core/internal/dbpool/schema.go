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

// migrate makes the database fit for the host's own tables and runs the steps that it does not have: one text for each
// version, in order, each in one transaction with the note that it ran. One that was released is never changed: a
// change is a new one. Columns and units are described in docs/schema.md.
func (d *dialect) migrate(ctx context.Context, db *sql.DB, steps []string) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return d.clean(ctx, "connect", err, "")
	}
	defer func() { err = d.either(ctx, err, conn.Close()) }()
	if d.ready != nil {
		if err := d.ready(ctx, conn); err != nil {
			return d.clean(ctx, "prepare the database", err, "")
		}
	}
	for {
		more, err := d.step(ctx, conn, steps)
		if err != nil || !more {
			return err
		}
	}
}

// step runs the next step in one transaction; false when there is none left.
func (d *dialect) step(ctx context.Context, conn *sql.Conn, steps []string) (more bool, err error) {
	if _, err := conn.ExecContext(ctx, d.begin); err != nil {
		return false, d.clean(ctx, "begin to bring the tables up to date", err, "")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.undoStep(ctx, conn))
		}
	}()
	for _, text := range []string{d.lock, d.versions} {
		if text == "" {
			continue
		}
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return false, d.clean(ctx, "note the version of the tables", err, "")
		}
	}
	version := 0
	if err := conn.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version); err != nil {
		return false, d.clean(ctx, "read the version of the tables", err, "")
	}
	if version > len(steps) {
		return false, fmt.Errorf("its tables have version %d and this hostd knows %d: it was used by a newer hostd; install that one again, or restore the database from before", version, len(steps))
	}
	if version < len(steps) {
		if _, err := conn.ExecContext(ctx, steps[version]); err != nil {
			return false, d.clean(ctx, fmt.Sprintf("bring the tables from version %d to %d", version, version+1), err, steps[version])
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO schema_version (version) VALUES (%d)", version+1)); err != nil {
			return false, d.clean(ctx, "note the version of the tables", err, "")
		}
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return false, d.clean(ctx, "commit the new tables", err, "")
	}
	return version < len(steps), nil
}

func (d *dialect) undoStep(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	_, err := conn.ExecContext(ctx, d.rollback)
	return d.clean(ctx, "undo", err, "")
}
