package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Reader reads the shipped tables beside a running host, or without one. It never writes.
type Reader struct {
	dialect *dialect
	db      *sql.DB
}

// ExamRow is one exam in a list.
type ExamRow struct {
	RecordID, Source                   string
	ReceivedAt                         time.Time // UTC; zero where the row has none that can be read
	TakenAt                            string    // as the instrument said it
	PatientID, DeviceMake, DeviceModel string
	Observations                       int
}

// OpenReader opens the database file of a host for reading.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	return OpenReaderOf(ctx, Options{Path: path})
}

// OpenReaderOf opens the database of a host for reading, by the options that say where it is.
func OpenReaderOf(ctx context.Context, o Options) (*Reader, error) {
	d, err := filled(&o)
	if err != nil {
		return nil, err
	}
	where := d.place(&o)
	if _, err := os.Stat(o.Path); !d.served && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open database %s: it is not there; check data_dir, and that the host ran once: %w", where, fs.ErrNotExist)
	}
	c, err := d.connector(&o, onlyRead, nil)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", where, err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open database %s: %w", where, errors.Join(d.clean(ctx, "connect", err, ""), db.Close()))
	}
	return &Reader{d, db}, nil
}

// Close lets the file go.
func (r *Reader) Close() error { return r.db.Close() }

const sqlExams = `SELECT e.record_id, e.source, e.received_at, e.taken_at, e.patient_id, e.device_make, e.device_model,
  (SELECT count(*) FROM observation o WHERE o.source = e.source AND o.record_id = e.record_id)
FROM exam e`

const (
	sqlNewest  = sqlExams + sqlOrder
	sqlUnnamed = sqlExams + ` WHERE e.patient_id = ''` + sqlOrder
	sqlOrder   = ` ORDER BY e.received_at DESC, e.record_id DESC, e.source`
)

// Exams lists the newest exams, by when the host received them; limit is 1 to 10,000.
func (r *Reader) Exams(ctx context.Context, limit int) ([]ExamRow, error) {
	return r.list(ctx, sqlNewest, limit)
}

// Unassigned lists the newest exams that name no patient, as Exams does.
func (r *Reader) Unassigned(ctx context.Context, limit int) ([]ExamRow, error) {
	return r.list(ctx, sqlUnnamed, limit)
}

func (r *Reader) list(ctx context.Context, query string, limit int) (out []ExamRow, err error) {
	const doing = "list exams"
	rows, err := r.db.QueryContext(ctx, r.dialect.limited(query, min(max(limit, 1), mostRows)))
	if err != nil {
		return nil, r.dialect.clean(ctx, doing, err, query)
	}
	defer func() { err = r.dialect.either(ctx, err, rows.Close()) }()
	for rows.Next() {
		var e ExamRow
		var received any
		if err := rows.Scan(&e.RecordID, &e.Source, &received, &e.TakenAt, &e.PatientID, &e.DeviceMake, &e.DeviceModel, &e.Observations); err != nil {
			return nil, r.dialect.clean(ctx, doing, err, "")
		}
		switch at := received.(type) {
		case time.Time:
			e.ReceivedAt = at.UTC()
		case string:
			if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
				e.ReceivedAt = t
			}
		}
		out = append(out, e)
	}
	return out, r.dialect.clean(ctx, doing, rows.Err(), "")
}
