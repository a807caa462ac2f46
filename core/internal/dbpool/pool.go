package dbpool

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Options of a pool. Path or DSN must be set, as the driver needs; other zero fields have the defaults named.
type Options struct {
	Driver           string        // "sqlite", the default, "postgres" or "sqlserver"
	Path             string        // the database file of sqlite; its folder exists
	DSN              string        // address and login of a server, as its driver takes it; it is never logged
	MaxOpen          int           // connections; 8, at least 2: in sqlite one of them writes and the others read
	MaxIdle          int           // connections of a server that stay open with nothing to do; MaxOpen
	MaxLifetime      time.Duration // of a connection to a server, less up to a tenth; 30 min
	AcquireTimeout   time.Duration // longest wait for a connection; 2 s
	OperationTimeout time.Duration // longest operation, once it has its connection; 10 s
	ConnectTimeout   time.Duration // longest Open; 10 s
	SlowQuery        time.Duration // operations that take longer are logged; 0 is none
	PerSink          int           // most connections of one sink, where there is more than one; 0: half of them while others ask too, else all but one
	MonitorEnabled   bool
	MonitorInterval  time.Duration // between the status lines; 10 s
	WarnAt           float64       // share of connections in use at which the monitor warns, above 0 to 1; 0.85
	QueryLog         bool          // log each operation at debug
	ReceiptWindow    time.Duration // receipts older than this are deleted; 400 days. It must exceed what the spool keeps and what an instrument sends again
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
	Repeats                    uint64        // transactions run again after a conflict with another
	Holders                    []Holder      // who has connections, most first

	// Of a server only.
	Breaker    Breaker
	Sockets    int // open, those of probes and requests to cancel included
	Strays     int // calls into the driver that were given up and have not come back
	Generation int // of the handle, which is exchanged when an operation is abandoned
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
	opt     Options                 // as Open was given them; what SetLimits changes is in limits
	limits  atomic.Pointer[Options] // exchanged by SetLimits
	resized chan struct{}           // capacity 1: the limits were changed
	dialect *dialect
	guard   *guard
	links   *connections // to a server; nil where there is none
	breaker *breaker     // the same
	log     *slog.Logger
	cut     time.Duration // beyond OperationTimeout: an operation is cancelled and its connection cut
	abandon time.Duration // beyond that: it is abandoned

	known  *catalog // of the database's tables
	tables versions // of what cached answers rest on

	handles [2]atomic.Pointer[sql.DB] // by lane; exchanged when an operation in it is abandoned

	mu     sync.Mutex
	closed bool // guarded by mu: no new handles
}

// Open opens the database, makes it if it is not there and is a file, and brings the host's own tables to their newest
// form. The error says what to check.
func Open(ctx context.Context, o Options) (*Pool, error) {
	d, err := o.dialect()
	if err != nil {
		return nil, err
	}
	return open(ctx, o, d, d.migrations)
}

// open brings the tables up to date by the steps.
func open(ctx context.Context, o Options, d *dialect, steps []string) (*Pool, error) {
	if err := o.fill(d); err != nil {
		return nil, err
	}
	p := &Pool{opt: o, resized: make(chan struct{}, 1), dialect: d, known: newCatalog(), log: o.Log, cut: 2 * time.Second, abandon: time.Second}
	p.limits.Store(&o)
	if p.dialect.served {
		p.links = newConnections(ctx, connectOptions{bound: o.ConnectTimeout, maxLifetime: o.MaxLifetime, fault: func(err error) fault { return p.dialect.fault(err, "") }, login: p.login})
		p.breaker = newBreaker(p.links.probe, o.Log)
	}
	p.guard = newGuard(p.places(wide), o.PerSink, p.breaker.allow)
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	if err := p.connect(ctx, steps); err != nil {
		return nil, fmt.Errorf("open database %s: %w", p.dialect.place(&o), errors.Join(err, p.Close()))
	}
	return p, nil
}

// dialect is that of the driver.
func (o *Options) dialect() (*dialect, error) {
	d := dialectOf(cmp.Or(o.Driver, "sqlite"))
	if d == nil {
		return nil, fmt.Errorf("open database: driver %q is not known; those that are there: %s", o.Driver, strings.Join(drivers(), ", "))
	}
	return d, nil
}

func (o *Options) fill(d *dialect) error {
	switch {
	case !d.served && o.Path == "":
		return errors.New("open database: no path is set")
	case d.served && o.DSN == "":
		return fmt.Errorf("open database: no dsn is set for %s", d.name)
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 8
	}
	if o.MaxOpen < 2 {
		return fmt.Errorf("open database: max_open is %d; it must be at least 2", o.MaxOpen)
	}
	if o.MaxIdle <= 0 || o.MaxIdle > o.MaxOpen {
		o.MaxIdle = o.MaxOpen
	}
	set(&o.MaxLifetime, 30*time.Minute)
	set(&o.AcquireTimeout, 2*time.Second)
	set(&o.OperationTimeout, 10*time.Second)
	set(&o.ConnectTimeout, 10*time.Second)
	set(&o.MonitorInterval, 10*time.Second)
	set(&o.ReceiptWindow, 400*24*time.Hour)
	if o.WarnAt <= 0 {
		o.WarnAt = 0.85
	}
	o.PerSink = min(max(o.PerSink, 0), max(d.places(wide, o.MaxOpen)-1, 1))
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

// places is how many connections a lane has of n.
func (d *dialect) places(k lane, n int) int {
	switch {
	case d.served && k == wide:
		return n
	case d.served:
		return 0
	case k == wide:
		return n - 1
	default:
		return 1
	}
}

func (p *Pool) places(k lane) int { return p.dialect.places(k, p.limits.Load().MaxOpen) }

// writeLane is where writes go.
func (p *Pool) writeLane() lane {
	if p.dialect.served {
		return wide
	}
	return narrow
}

// connect makes the handles and migrates.
func (p *Pool) connect(ctx context.Context, steps []string) error {
	if _, err := p.dialect.connector(&p.opt, mayWrite, nil); err != nil {
		return err
	}
	if err := errors.Join(p.renew(wide), p.renew(narrow)); err != nil {
		return err
	}
	if err := p.dialect.migrate(ctx, p.handleOf(p.writeLane()), steps); err != nil {
		return err
	}
	return p.dialect.clean(ctx, "connect for reading", p.handleOf(wide).PingContext(ctx), "")
}

// handleOf is the handle of a lane that has places.
func (p *Pool) handleOf(k lane) *sql.DB { return p.handles[k].Load() }

// renew puts a new handle in the lane.
func (p *Pool) renew(k lane) error {
	if p.places(k) == 0 {
		return nil
	}
	db, err := p.handle(k)
	if err == nil {
		old := p.handles[k].Swap(db)
		p.bound(db, k) // after the exchange: SetLimits sees the new handle, or this the new limits
		if old != nil {
			err = old.Close()
		}
	}
	return err
}

// login makes a connection to a server by way of its driver.
func (p *Pool) login(ctx context.Context, dial dialFunc) (driver.Conn, error) {
	c, err := p.dialect.connector(&p.opt, mayWrite, dial)
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// take is a connection of the lane; to a server within ConnectTimeout, and with its link, which the lease has until
// database/sql has it back.
func (p *Pool) take(ctx context.Context, k lane, l *lease) (*sql.Conn, *link, error) {
	if p.dialect.served {
		bound, cancel := context.WithTimeout(ctx, p.opt.ConnectTimeout)
		defer cancel()
		ctx = bound
	}
	db := p.handleOf(k)
	conn, err := db.Conn(ctx)
	if now := p.handleOf(k); err != nil && now != db { // it was exchanged meanwhile
		conn, err = now.Conn(ctx)
	}
	if err != nil || !p.dialect.served {
		return conn, nil, p.dialect.clean(ctx, "connect", err, "")
	}
	is, err := linkOf(conn)
	if err != nil {
		return nil, nil, p.dialect.clean(ctx, "connect", errors.Join(err, conn.Close()), "")
	}
	is.lend(func() { p.guard.own(l, nil) })
	l.last = is
	p.guard.own(l, is)
	return conn, is, nil
}

// lend has a connection to a server used, and takes it back: into the pool, or after an error out of it, for nobody
// knows what state it is in. At the end of its time the driver knows: it has the server's word, or gave it up.
func (p *Pool) lend(ctx context.Context, l *lease, use func(*sql.Conn) error) error {
	conn, _, err := p.take(ctx, wide, l)
	if err != nil {
		return err
	}
	err = use(conn)
	end := conn.Close
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		end = func() error { return discard(conn, nil) }
	}
	return p.dialect.either(ctx, err, end())
}

// SetLimits takes MaxOpen, MaxIdle, PerSink, AcquireTimeout, OperationTimeout, SlowQuery, QueryLog, ReceiptWindow and what is the
// monitor's of o, with their defaults, in the place of those that hold; the rest of o stays as Open was given it. Operations that have
// begun, or wait, go on: connections that are too many are closed when they are given back. An error changes nothing. It must not be called beside itself.
func (p *Pool) SetLimits(o Options) error {
	o.Driver, o.Path, o.DSN, o.MaxLifetime, o.ConnectTimeout, o.Cache, o.Log = p.opt.Driver, p.opt.Path, p.opt.DSN, p.opt.MaxLifetime, p.opt.ConnectTimeout, p.opt.Cache, p.opt.Log
	if err := o.fill(p.dialect); err != nil {
		return err
	}
	p.limits.Store(&o)
	for k := range p.handles {
		if db := p.handles[k].Load(); db != nil {
			p.bound(db, lane(k))
		}
	}
	p.guard.resize(p.places(wide), o.PerSink)
	select {
	case p.resized <- struct{}{}:
	default:
	}
	return nil
}

// bound gives a handle of the lane its sizes.
func (p *Pool) bound(db *sql.DB, k lane) {
	open, idle := p.places(k), p.places(k)
	if p.dialect.served {
		idle = p.limits.Load().MaxIdle
	}
	db.SetMaxOpenConns(open)
	db.SetMaxIdleConns(idle)
}

// handle makes a handle without connecting.
func (p *Pool) handle(k lane) (*sql.DB, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrStopped
	}
	if p.dialect.served {
		return p.generation(), nil
	}
	a := mayWrite
	if k != p.writeLane() {
		a = mayRead
	}
	c, err := p.dialect.connector(&p.opt, a, nil)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	p.bound(db, k)
	return db, nil
}

// generation is a new handle to a server. When one of its connections is lost, those that nobody uses are closed.
func (p *Pool) generation() (db *sql.DB) {
	db = sql.OpenDB(p.links.generation(func(error) {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(p.limits.Load().MaxIdle)
	}))
	p.bound(db, wide)
	db.SetConnMaxIdleTime(maxIdleTime)
	return db
}

// maxIdleTime is how long a connection to a server is kept that nobody uses.
const maxIdleTime = 5 * time.Minute

// Run serves the stores until ctx ends. Then what has begun is finished, what waits is refused, and an error names the
// operations that could not be ended.
func (p *Pool) Run(ctx context.Context) error {
	g := life.NewGroup(context.WithoutCancel(ctx)) // operations are bounded by their own time
	for _, k := range []lane{wide, narrow} {
		p.hire(g, k)
	}
	if p.breaker != nil {
		g.Go("database prober", func(context.Context) error { return p.breaker.Run(ctx) })
	}
	g.Go("receipts", func(context.Context) error { return p.purgeReceipts(ctx) })
	p.keepHouse(ctx, g)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return g.Stop(last)
}

// hire begins the workers that the lane lacks.
func (p *Pool) hire(g *life.Group, k lane) {
	for range p.guard.missing(k, p.places(k)) {
		if p.guard.begin(k) {
			g.Go(workerNames[k], p.serve(k))
		}
	}
}

// Close lets the connections go. It is called after Run has ended; requests from then on are refused.
func (p *Pool) Close() error {
	p.guard.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for k := range p.handles {
		if db := p.handles[k].Load(); db != nil {
			errs = append(errs, db.Close())
		}
	}
	if p.links != nil {
		errs = append(errs, p.links.stop())
	}
	return errors.Join(errs...)
}

// Store is the database as one sink has it: its leases are in the name of holder.
func (p *Pool) Store(holder string) sdk.Store { return &store{pool: p, line: p.guard.join(holder)} }

// Stats gives a snapshot.
func (p *Pool) Stats() Stats {
	open := 0
	for k := range p.handles {
		if db := p.handles[k].Load(); db != nil {
			open += db.Stats().OpenConnections
		}
	}
	g := p.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{
		InUse: len(g.leases), MaxOpen: p.limits.Load().MaxOpen, WaitCount: g.waits, WaitDuration: g.waited,
		Waiting: g.waiting[wide] + g.waiting[narrow], Abandoned: g.lost, Writes: g.written, Commits: g.commits, Repeats: g.repeats, Holders: g.holders(),
	}
	if p.links != nil {
		n := p.links.counts()
		s.Breaker, s.Sockets, s.Strays, s.Generation = p.breaker.state(), n.Sockets, n.Strays, n.Generation
	}
	s.Open = max(open, s.InUse)
	s.Idle = s.Open - s.InUse
	return s
}

type store struct {
	pool *Pool
	line *line
}
