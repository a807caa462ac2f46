package dbpool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// OpenVersions opens with the shipped migrations and more of the test's own; with fewer where shipped is less than all.
func OpenVersions(ctx context.Context, o Options, shipped int, more ...string) (*Pool, error) {
	d, err := o.dialect()
	if err != nil {
		return nil, err
	}
	return open(ctx, o, d, slices.Concat(d.migrations[:shipped], more))
}

// Shipped is the number of shipped migrations.
func Shipped(driver string) int { return len(Migrations(driver)) }

// SetGrace shortens the times after which an operation is cancelled and abandoned.
func SetGrace(p *Pool, cut, abandon time.Duration) { p.cut, p.abandon = cut, abandon }

// Parse gives the form in which a statement is logged, and that in which the database gets it.
func Parse(driver, sql string) (print, text string, err error) {
	st, err := dialectOf(driver).parse(sql)
	if err != nil {
		return "", "", err
	}
	return st.print, st.text, nil
}

// Migrations are the shipped ones; no driver is sqlite.
func Migrations(driver string) []string { return dialectOf(cmp.Or(driver, "sqlite")).migrations }

// Purge deletes the receipts first seen before the time, as the host does by itself.
func Purge(ctx context.Context, p *Pool, before time.Time) (int64, error) {
	s := &store{pool: p, line: p.guard.host()}
	return s.purge(ctx, before)
}

// Encrypts says whether a connection by the DSN is encrypted for sure.
func Encrypts(dsn string) bool {
	cfg, err := postgresConfig(&Options{DSN: dsn})
	if err != nil || cfg.TLSConfig == nil {
		return false
	}
	return !slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil })
}

// Meaning is what a driver's error means: its class, and the text that may be shown.
func Meaning(driver string, err error, known string) (sdk.Class, string, error) {
	f := dialectOf(driver).fault(err, known)
	return f.class, f.text, f.is
}

// Encryption is how a connection to SQL Server is made.
type Encryption struct {
	Required bool
	Checked  bool // the server must have the certificate that the DSN or the machine trusts
}

// EncryptionOf is how the DSN has the connection, which is never tried again by the driver.
func EncryptionOf(dsn string) (e Encryption, err error) {
	cfg, err := sqlserverConfig(&Options{DSN: dsn})
	if err == nil && !cfg.DisableRetry {
		err = errors.New("the driver would try again")
	}
	e.Required = cfg.Encryption == msdsn.EncryptionRequired
	e.Checked = e.Required && !cfg.TLSConfig.InsecureSkipVerify
	return e, err
}
