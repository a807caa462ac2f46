package dbpool

import "context"

// receiptColumns in the order of a receipt's values, which is that of their names.
var receiptColumns = []string{"content_hash", "first_seen", "record_id", "rows", "seq", "sink", "source"}

var receiptShape = shapeOf(tableReceipt, receiptColumns, nil)

// receipts finds which of the call's onces have a receipt already, with its hash. Each sink has its own; one without a
// sink is of a time before they were told apart, and counts for all.
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
			took, err := s.lookup(ctx, c.sink, source, ids, known)
			if err != nil {
				return nil, err
			}
			ids = ids[took:]
		}
	}
	return known, nil
}

// lookup asks for as many of the ids as one statement takes.
func (s *session) lookup(ctx context.Context, sink, source string, ids []any, known map[receiptKey]string) (took int, err error) {
	const doing = "look for receipts"
	d := s.dialect
	among, args, took := d.among(3, ids)
	text := "SELECT record_id, content_hash FROM ingest_receipt WHERE source = " + d.mark(1) + " AND sink IN (" + d.mark(2) + ", '') AND record_id " + among
	rows, err := s.query(ctx, text, append([]any{source, sink}, args...)...)
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
