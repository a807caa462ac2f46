package dbpool

import (
	"context"
	"strings"
)

// receiptColumns in the order of a receipt's values, which is that of their names.
var receiptColumns = []string{"content_hash", "first_seen", "record_id", "rows", "seq", "source"}

var receiptShape = shapeOf(tableReceipt, receiptColumns, nil)

const mostReceipts = 128 // identities in one lookup, a power of two

// receipts finds which of the call's onces have a receipt already, with its hash.
func (s *session) receipts(ctx context.Context, c *call) (map[receiptKey]string, error) {
	known := make(map[receiptKey]string, c.onces)
	if c.onces == 0 {
		return known, nil
	}
	by := map[string][]any{}
	for i := range c.changes {
		if o := c.changes[i].once; o != nil {
			by[o.id.source] = append(by[o.id.source], o.id.id)
		}
	}
	for source, ids := range by {
		for size := mostReceipts; len(ids) > 0; ids = ids[size:] {
			for size > len(ids) {
				size /= 2
			}
			if err := s.lookup(ctx, source, ids[:size], known); err != nil {
				return nil, err
			}
		}
	}
	return known, nil
}

func (s *session) lookup(ctx context.Context, source string, ids []any, known map[receiptKey]string) (err error) {
	const doing = "look for receipts"
	text := "SELECT record_id, content_hash FROM ingest_receipt WHERE source = ? AND record_id IN (?" + strings.Repeat(",?", len(ids)-1) + ")"
	st, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept by the session
	if err != nil {
		return clean(doing, err, "")
	}
	rows, err := st.QueryContext(ctx, append([]any{source}, ids...)...)
	if err != nil {
		return clean(doing, err, "")
	}
	defer func() { err = either(err, rows.Close()) }()
	for rows.Next() {
		key, hash := receiptKey{source: source}, ""
		if err := rows.Scan(&key.id, &hash); err != nil {
			return clean(doing, err, "")
		}
		known[key] = hash
	}
	return clean(doing, rows.Err(), "")
}
