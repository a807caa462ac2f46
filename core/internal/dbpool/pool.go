package dbpool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Options of a pool. Path must be set; other zero fields have the defaults named.
type Options struct {
	Driver           string        // "sqlite", the default
	Path             string        // the database file; its folder exists
	MaxOpen          int           // connections: one writer and the rest readers; 8, at least 2
	AcquireTimeout   time.Duration // longest wait for a connection; 2 s
	OperationTimeout time.Duration // longest operation, once it has its connection; 10 s
	ConnectTimeout   time.Duration // longest Open; 10 s
	SlowQuery        time.Duration // operations that take longer are logged; 0 is none
	PerSink          int           // most reads of one sink at a time, where there is more than one sink; all readers but one
	MonitorEnabled   bool
	MonitorInterval  time.Duration // between the status lines; 10 s
	WarnAt           float64       // share of connections in use at which the monitor warns, above 0 to 1; 0.85
	QueryLog         bool          // log each operation at debug
	Cache            QueryCache    // answers of queries that ask for it; nil is none
	Log              *slog.Logger
}

// QueryCache keeps encoded answers by key. GetOrLoad returns the value that is there, and true, or calls load once for
// all who ask at the same time and keeps what it returns for at most ttl; the caller may change the value.
type QueryCache interface {
	GetOrLoad(ctx context.Context, key [32]byte, ttl time.Duration, load func(context.Context) ([]byte, error)) ([]byte, bool, error)
}

// Stats is a snapshot of a pool.
type Stats struct {
	Open, InUse, Idle, MaxOpen int           // connections; InUse are those that a holder has
	WaitCount                  uint64        // requests that found no connection free
	WaitDuration               time.Duration // how long those waited, together
	Waiting                    int           // requests that wait now
	Abandoned                  uint64        // connections given up because the database did not answer
	Writes, Commits            uint64        // calls that were written, and the transactions that did it
	Holders                    []Holder      // who has connections, most first
}

// Holder is one sink, or the host itself, that has connections.
type Holder struct {
	Name      string
	InUse     int
	Oldest    time.Duration // age of its oldest operation
	Statement string        // of that one, without values
}

// Pool is the guarded database.
type Pool struct {
	opt     Options
	dialect *dialect
	guard   *guard
	log     *slog.Logger
	cut     time.Duration // beyond OperationTimeout: an operation is cancelled
	abandon time.Duration // beyond that: it is abandoned

	tables versions // of what cached answers rest on

	reader atomic.Pointer[reads]  // exchanged when a read is abandoned
	writer atomic.Pointer[sql.DB] // exchanged when a write is abandoned

	mu     sync.Mutex
	closed bool // guarded by mu: no new handles
}

// reads is one generation of connections for reading.
type reads struct{ db *sql.DB }

// Open opens the database, makes it if it is not there, and brings the host's own tables to their newest form. The
// error says what to check.
func Open(ctx context.Context, o Options) (*Pool, error) { return open(ctx, o, migrations) }

func open(ctx context.Context, o Options, steps []string) (*Pool, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	p := &Pool{opt: o, dialect: sqliteDialect(), log: o.Log, cut: 2 * time.Second, abandon: time.Second}
	p.guard = newGuard(o.MaxOpen-1, o.PerSink)
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	if err := p.connect(ctx, steps); err != nil {
		return nil, fmt.Errorf("open database %s: %w", o.Path, errors.Join(err, p.Close()))
	}
	return p, nil
}

func (o *Options) fill() error {
	if o.Driver == "" {
		o.Driver = "sqlite"
	}
	if o.Driver != "sqlite" {
		return fmt.Errorf("open database: driver %q is not known; the one that is there is sqlite", o.Driver)
	}
	if o.Path == "" {
		return errors.New("open database: no path is set")
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 8
	}
	if o.MaxOpen < 2 {
		return fmt.Errorf("open database: max_open is %d; it must be at least 2, a writer and a reader", o.MaxOpen)
	}
	set(&o.AcquireTimeout, 2*time.Second)
	set(&o.OperationTimeout, 10*time.Second)
	set(&o.ConnectTimeout, 10*time.Second)
	set(&o.MonitorInterval, 10*time.Second)
	if o.WarnAt <= 0 {
		o.WarnAt = 0.85
	}
	if o.PerSink <= 0 || o.PerSink > o.MaxOpen-1 {
		o.PerSink = max(o.MaxOpen-2, 1)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func set(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// connect makes both handles and migrates through the writer.
func (p *Pool) connect(ctx context.Context, steps []string) error {
	if err := errors.Join(p.renewWriter(), p.renewReader()); err != nil {
		return err
	}
	if err := migrate(ctx, p.writer.Load(), steps); err != nil {
		return err
	}
	if err := p.reader.Load().db.PingContext(ctx); err != nil {
		return clean("connect for reading", err, "")
	}
	return nil
}

func (p *Pool) renewWriter() error {
	db, err := p.handle(mayWrite, 1)
	if err == nil {
		if old := p.writer.Swap(db); old != nil {
			err = old.Close()
		}
	}
	return err
}

func (p *Pool) renewReader() error {
	db, err := p.handle(mayRead, p.opt.MaxOpen-1)
	if err == nil {
		if old := p.reader.Swap(&reads{db}); old != nil {
			err = old.db.Close()
		}
	}
	return err
}

// handle makes a handle without connecting.
func (p *Pool) handle(a access, most int) (*sql.DB, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrStopped
	}
	c, err := connector(p.opt.Path, a)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// Run serves the stores until ctx ends. Then what has begun is finished, what waits is refused, and an error names the
// operations that could not be ended.
func (p *Pool) Run(ctx context.Context) error {
	g := life.NewGroup(context.WithoutCancel(ctx)) // operations are bounded by their own time
	for i := range p.opt.MaxOpen - 1 {
		p.start(g, fmt.Sprintf("reader %d", i), p.serveReads)
	}
	p.start(g, "writer", p.serveWrites)
	p.keepHouse(ctx, g)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return g.Stop(last)
}

func (p *Pool) start(g *life.Group, name string, serve func(context.Context) error) {
	if p.guard.begin() {
		g.Go(name, serve)
	}
}

// Close lets the connections go. It is called after Run has ended; requests from then on are refused.
func (p *Pool) Close() error {
	p.guard.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	if db := p.writer.Load(); db != nil {
		errs = append(errs, db.Close())
	}
	if r := p.reader.Load(); r != nil {
		errs = append(errs, r.db.Close())
	}
	return errors.Join(errs...)
}

// Store is the database as one sink has it: its leases are in the name of holder.
func (p *Pool) Store(holder string) sdk.Store { return &store{pool: p, line: p.guard.join(holder)} }

// Stats gives a snapshot.
func (p *Pool) Stats() Stats {
	open := 0
	if db := p.writer.Load(); db != nil {
		open += db.Stats().OpenConnections
	}
	if r := p.reader.Load(); r != nil {
		open += r.db.Stats().OpenConnections
	}
	g := p.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{
		InUse: len(g.leases), MaxOpen: p.opt.MaxOpen, WaitCount: g.waits, WaitDuration: g.waited,
		Waiting: g.waiting[reading] + g.waiting[writing], Abandoned: g.lost, Writes: g.written, Commits: g.commits, Holders: g.holders(),
	}
	s.Open = max(open, s.InUse)
	s.Idle = s.Open - s.InUse
	return s
}

type store struct {
	pool *Pool
	line *line
}
