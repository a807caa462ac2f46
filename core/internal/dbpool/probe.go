package dbpool

import (
	"context"
	"fmt"
)

// Drivers are the databases that there are a dialect for.
func Drivers() []string { return drivers() }

// Probe connects to the database, logs in and goes, within ConnectTimeout. The error says what to check, in a sentence that
// has no secret in it. It is for servers: of a file it would make one.
func Probe(ctx context.Context, o Options) error {
	d, err := filled(&o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	db, err := d.look(ctx, &o, onlyRead)
	if err != nil {
		return fmt.Errorf("open database %s: %w", d.place(&o), err)
	}
	return db.Close()
}
