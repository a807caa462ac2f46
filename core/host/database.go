package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// database opens the pool and keeps trying: a database that cannot be opened must not stop the intake, whose records
// wait in the spool meanwhile.
type database struct {
	opt dbpool.Options
	log *slog.Logger

	mu   sync.Mutex
	pool *dbpool.Pool // guarded by mu: nil while it cannot be opened
	why  error        // guarded by mu: then
}

var errNotOpenYet = errors.New("database is not open yet")

func newDatabase(h *Host) *database {
	p, log := &h.cfg.Database.Pool, h.logs.Logger("dbpool")
	return &database{log: log, why: errNotOpenYet, opt: dbpool.Options{
		Driver: h.cfg.Database.Driver, Path: h.places.database, MaxOpen: p.MaxOpen,
		AcquireTimeout: p.AcquireTimeout, OperationTimeout: p.OperationTimeout, ConnectTimeout: p.ConnectTimeout,
		SlowQuery: p.SlowQuery, PerSink: p.PerSink, MonitorEnabled: p.Monitor.Enabled, MonitorInterval: p.Monitor.Interval,
		WarnAt: float64(p.Monitor.WarnAt), QueryLog: p.QueryLog, Cache: h.cache, Log: log,
	}}
}

// run opens the pool and runs it until ctx ends.
func (d *database) run(ctx context.Context) error {
	pause := life.Backoff{First: time.Second, Longest: 15 * time.Second}
	for {
		pool, err := dbpool.Open(ctx, d.opt)
		d.mu.Lock()
		d.pool, d.why = pool, err
		d.mu.Unlock()
		if err == nil {
			return pool.Run(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		d.log.Error("database cannot be opened; records wait in the spool, and it is tried again", "err", err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pool == nil {
		return nil
	}
	return d.pool.Close()
}

// now gives the pool, or why there is none.
func (d *database) now() (*dbpool.Pool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pool, d.why
}

// store is one sink's view.
func (d *database) store(holder string) sdk.Store { return &sinkStore{db: d, holder: holder} }

type sinkStore struct {
	db     *database
	holder string
}

func (s *sinkStore) open() (sdk.Store, error) {
	pool, why := s.db.now()
	if pool == nil {
		return nil, sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("database is not available: %w", why))
	}
	return pool.Store(s.holder), nil
}

// Write is sdk.Store's.
func (s *sinkStore) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	store, err := s.open()
	if err != nil {
		return nil, err
	}
	return store.Write(ctx, changes...)
}

// Query is sdk.Store's.
func (s *sinkStore) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	store, err := s.open()
	if err != nil {
		return sdk.Result{}, err
	}
	return store.Query(ctx, q)
}
