package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// database opens the pool and keeps trying: a database that cannot be opened must not stop the intake, whose records
// wait in the spool meanwhile.
type database struct {
	embedded bool // it is a file, which somebody may delete
	log      *slog.Logger

	mu   sync.Mutex
	opt  dbpool.Options // guarded by mu
	pool *dbpool.Pool   // guarded by mu: nil while it cannot be opened
	why  error          // guarded by mu: then
	lost int            // guarded by mu: how often the file was lost since the start
}

var errNotOpenYet = errors.New("database is not open yet")

func newDatabase(h *Host) *database {
	o := databaseOptions(h.now().cfg, &h.places)
	o.Cache, o.Log = h.cache, h.logs.Logger("dbpool")
	return &database{opt: o, embedded: h.now().cfg.Database.Embedded(), log: o.Log, why: errNotOpenYet}
}

// databaseOptions say where the database is, and within what bounds it is used.
func databaseOptions(c *config.Config, places *places) dbpool.Options {
	d, p := &c.Database, &c.Database.Pool
	return dbpool.Options{
		Driver: d.Driver, Path: places.database, DSN: d.DSN.Reveal(), ReceiptWindow: d.Receipts.Keep,
		MaxOpen: p.MaxOpen, MaxIdle: p.MaxIdle, MaxLifetime: p.MaxLifetime, PerSink: p.PerSink,
		AcquireTimeout: p.AcquireTimeout, OperationTimeout: p.OperationTimeout, ConnectTimeout: p.ConnectTimeout,
		SlowQuery: p.SlowQuery, QueryLog: p.QueryLog,
		MonitorEnabled: p.Monitor.Enabled, MonitorInterval: p.Monitor.Interval, WarnAt: float64(p.Monitor.WarnAt) / 100,
	}
}

// run opens the pool and runs it until ctx ends.
func (d *database) run(ctx context.Context) error {
	pause := life.Backoff{First: time.Second, Longest: 15 * time.Second}
	for {
		opt := d.options()
		pool, err := dbpool.Open(ctx, opt)
		err = d.opened(pool, err)
		if err == nil {
			if err = d.hold(ctx, pool, opt.Path); !errors.Is(err, errVanished) {
				return err
			}
			d.forget(err)
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

func (d *database) options() dbpool.Options {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opt
}

// opened keeps the pool, with the limits of now, or why there is none.
func (d *database) opened(pool *dbpool.Pool, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		if err = pool.SetLimits(d.opt); err != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	if err == nil {
		d.pool, d.why = pool, nil
	} else {
		d.pool, d.why = nil, err
	}
	return err
}

// setLimits changes the pool that is open, and those that will be.
func (d *database) setLimits(o dbpool.Options) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o.Cache, o.Log = d.opt.Cache, d.opt.Log
	d.opt = o
	if d.pool == nil {
		return nil
	}
	return d.pool.SetLimits(o)
}

// errVanished is a database file that was deleted or exchanged while it was open.
var errVanished = errors.New("the database file was deleted or exchanged while hostd runs: what was delivered before is not in the new one; hostd replay brings back what the spool still has")

// lookEvery is how often the database file is looked for under its name.
const lookEvery = time.Second

// hold runs the pool until ctx ends, it fails, or its file, where it is one, is not the one under its name any more: what
// is written then would be gone with the closing.
func (d *database) hold(ctx context.Context, pool *dbpool.Pool, path string) error {
	if !d.embedded {
		return pool.Run(ctx)
	}
	opened, err := os.Stat(path)
	if err != nil {
		return errors.Join(errVanished, pool.Close())
	}
	g := life.NewGroup(ctx)
	g.Go("pool", pool.Run)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-g.Failed():
			return errors.Join(err, g.Wait())
		case <-ctx.Done():
			return g.Wait()
		case <-tick.C:
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(now, opened) {
			continue
		}
		g.Cancel()
		return errors.Join(errVanished, g.Wait(), pool.Close())
	}
}

// forget lets the pool go that hold has closed.
func (d *database) forget(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pool, d.why = nil, why
	d.lost++
	d.log.Error("database lost", "err", why)
}

// losses is how often the file was lost since the start.
func (d *database) losses() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
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
