package dbpool

import (
	"context"
	"time"
)

// OpenVersions opens with the shipped migrations and more of the test's own; with fewer where shipped is less than all.
func OpenVersions(ctx context.Context, o Options, shipped int, more ...string) (*Pool, error) {
	return open(ctx, o, append(append([]string{}, migrations[:shipped]...), more...))
}

// Shipped is the number of shipped migrations.
func Shipped() int { return len(migrations) }

// SetGrace shortens the times after which an operation is cancelled and abandoned.
func SetGrace(p *Pool, cut, abandon time.Duration) { p.cut, p.abandon = cut, abandon }

// Fingerprint is the form in which a statement is logged.
func Fingerprint(sql string) (string, error) {
	st, err := parse(sql)
	if err != nil {
		return "", err
	}
	return st.print, nil
}

// Migrations are the shipped ones.
func Migrations() []string { return migrations }
