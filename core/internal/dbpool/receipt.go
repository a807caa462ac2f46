package dbpool

import "context"

// receiptColumns in the order of a receipt's values, which is that of their names.
var receiptColumns = []string{"content_hash", "first_seen", "record_id", "rows", "seq", "source"}

var receiptShape = shapeOf(tableReceipt, receiptColumns, nil)

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
		for len(ids) > 0 {
			took, err := s.lookup(ctx, source, ids, known)
			if err != nil {
				return nil, err
			}
			ids = ids[took:]
		}
	}
	return known, nil
}

// lookup asks for as many of the ids as one statement takes.
func (s *session) lookup(ctx context.Context, source string, ids []any, known map[receiptKey]string) (took int, err error) {
	const doing = "look for receipts"
	d := s.dialect
	among, args, took := d.among(2, ids)
	text := "SELECT record_id, content_hash FROM ingest_receipt WHERE source = " + d.mark(1) + " AND record_id " + among
	rows, err := s.query(ctx, text, append([]any{source}, args...)...)
	if err != nil {
		return 0, d.clean(ctx, doing, err, "")
	}
	defer func() { err = d.either(ctx, err, rows.Close()) }()
	for rows.Next() {
		key, hash := receiptKey{source: source}, ""
		if err := rows.Scan(&key.id, &hash); err != nil {
			return 0, d.clean(ctx, doing, err, "")
		}
		known[key] = hash
	}
	return took, d.clean(ctx, doing, rows.Err(), "")
}
