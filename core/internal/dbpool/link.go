package dbpool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// link is one connection as database/sql has it: a driver's connection, the sockets below it, and what is known of both.
// It hands on every optional ability of the driver that database/sql asks for.
type link struct {
	gen     *generation
	born    time.Time
	expires time.Time    // zero is never
	sent    atomic.Int64 // bytes that the system took for the server
	gone    atomic.Bool  // cut, lost, or given up by its driver: not to be used again
	epoch   atomic.Int64 // of the generation, when the link was last known to be good

	idleSince time.Time // guarded by the lock that database/sql has on each connection

	mu      sync.Mutex
	inner   driver.Conn          // guarded by mu until the link is handed out, constant from then on
	sockets map[*socket]struct{} // guarded by mu
	dialled bool                 // guarded by mu: a socket came to be
	settled bool                 // guarded by mu: the driver came back from the login
	cutOff  bool                 // guarded by mu: sockets are closed, and none is to come
	lost    bool                 // guarded by mu: the other end is gone
	pinging bool                 // guarded by mu: the driver is in a ping
	lent    func()               // guarded by mu: to be called when database/sql has the link back
	closing bool                 // guarded by mu: Close was called
	closed  time.Time            // guarded by mu: when
}

type linkState int

const (
	linkOpening linkState = iota
	linkOpen
	linkClosed
)

func (l *link) state() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.settled:
		return linkOpening
	case l.closing || l.inner == nil:
		return linkClosed
	default:
		return linkOpen
	}
}

// login lets the driver connect. What the driver leaves open with an error is closed; a connection that comes when
// nobody waits for it any more is closed too.
func (l *link) login(ctx context.Context) error {
	defer l.tidy()
	var conn driver.Conn
	err := life.Call(func() (err error) {
		conn, err = l.gen.all.opt.login(context.WithValue(ctx, linkKey{}, l), l.dial)
		return err
	})
	if err != nil {
		l.settle(nil)
		l.cut()
		return err
	}
	if !l.settle(conn) {
		return errors.Join(errCut, conn.Close())
	}
	return nil
}

// settle takes the driver's connection, unless the link has been cut.
func (l *link) settle(conn driver.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
	if l.cutOff || conn == nil {
		return false
	}
	l.inner = conn
	l.idleSince = time.Now()
	return true
}

// conn is what database/sql gets. A driver that can only prepare must not seem to be able to run directly, or its
// arguments are converted twice.
func (l *link) conn() driver.Conn {
	_, exec := l.inner.(driver.ExecerContext)
	_, query := l.inner.(driver.QueryerContext)
	if exec || query {
		return &directLink{l}
	}
	return l
}

// lend has f called once, when database/sql has the link back and before anybody else can have it.
func (l *link) lend(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent = f
}

func (l *link) back() {
	if f := l.taken(); f != nil {
		f()
	}
}

func (l *link) taken() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.lent
	l.lent = nil
	return f
}

// mark is what has been sent so far, for sentSince.
func (l *link) mark() int64 {
	if l == nil {
		return 0
	}
	return l.sent.Load()
}

// sentSince is false only where surely nothing was sent since the mark.
func (l *link) sentSince(mark int64) bool { return l == nil || l.sent.Load() != mark }

// linkOf is the link below a connection of database/sql, for its holder's lease: from then on it can be cut, whatever
// the driver does. It is nil where connections are not made by a generation, as those of SQLite.
func linkOf(conn *sql.Conn) (l *link, err error) {
	err = conn.Raw(func(dc any) error {
		if has, ok := dc.(interface{ self() *link }); ok {
			l = has.self()
		}
		return nil
	})
	return l, err
}

func (l *link) self() *link { return l }

// Unwrap gives the driver's own connection to what is run with sql.Conn.Raw.
func (l *link) Unwrap() driver.Conn { return l.inner }

// Close ends the connection, at once where it is cut or lost. A driver that gave it up at the end of a context may still
// ask the server to cancel, see sweep. One that has not come back from a ping is closed when it does.
func (l *link) Close() error {
	l.back()
	inner, dead := l.end(), l.dead()
	if dead {
		l.cut()
	}
	var err error
	if inner != nil {
		err = inner.Close()
	}
	l.tidy()
	if dead {
		return nil // the driver's error is that its sockets are closed
	}
	return err
}

// end gives the driver's connection to the first caller, who must close it.
func (l *link) end() driver.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return nil
	}
	l.closing, l.closed = true, time.Now()
	if l.pinging {
		return nil
	}
	return l.inner
}

// ResetSession is called when an idle connection is about to be used. It pings one that was quiet, or whose server was
// lost since it was last known to be good, and refuses it if it does not answer in time.
func (l *link) ResetSession(ctx context.Context) error {
	if l.gone.Load() {
		return driver.ErrBadConn
	}
	if r, ok := l.inner.(driver.SessionResetter); ok {
		if err := r.ResetSession(ctx); err != nil {
			return err
		}
	}
	epoch := l.gen.epoch.Load()
	if l.epoch.Load() == epoch && time.Since(l.idleSince) <= l.gen.all.opt.quiet {
		return nil
	}
	if !l.answers(ctx) {
		return driver.ErrBadConn
	}
	l.epoch.Store(epoch)
	return nil
}

// answers pings within the time that a ping has. A link that does not answer is cut, and counts as lost unless it was
// the caller who gave up.
func (l *link) answers(ctx context.Context) bool {
	bound, cancel := context.WithTimeout(ctx, l.gen.all.opt.ping)
	defer cancel()
	end := func(cause error) {
		if ctx.Err() == nil {
			l.tell(cause)
		}
		l.cut()
	}
	err := l.knock(bound, func() { end(context.DeadlineExceeded) })
	if err != nil {
		end(err)
	}
	return err == nil
}

// Ping asks the server for a sign of life until ctx ends; then the connection is cut.
func (l *link) Ping(ctx context.Context) error {
	if l.gone.Load() {
		return driver.ErrBadConn
	}
	return l.knock(ctx, l.cut)
}

// knock pings, and calls cut when ctx ends before the driver comes back.
func (l *link) knock(ctx context.Context, cut func()) error {
	p, ok := l.inner.(driver.Pinger)
	if !ok {
		return nil
	}
	l.setPinging(underWay)
	back, err := l.gen.all.bounded(ctx, "ping a database connection", func() (err error) {
		defer func() { err = errors.Join(err, l.pinged()) }()
		return p.Ping(ctx)
	}, cut)
	if back {
		l.setPinging(over)
	}
	return err
}

// For setPinging.
const (
	underWay = true
	over     = false
)

func (l *link) setPinging(now bool) (closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinging = now
	return l.closing
}

// pinged closes the driver's connection where Close could not, because the driver was in the ping.
func (l *link) pinged() error {
	if !l.setPinging(over) {
		return nil
	}
	return l.inner.Close()
}

// IsValid is called when a connection is given back: one that is lost, cut or old is not kept.
func (l *link) IsValid() bool {
	l.back()
	l.idleSince = time.Now()
	if l.gone.Load() || !l.expires.IsZero() && l.idleSince.After(l.expires) {
		return false
	}
	if v, ok := l.inner.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

// Prepare is PrepareContext without a limit; database/sql does not use it.
func (l *link) Prepare(query string) (driver.Stmt, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	return l.inner.Prepare(query)
}

// PrepareContext prepares a statement.
func (l *link) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	if p, ok := l.inner.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	st, err := l.inner.Prepare(query)
	if err == nil && ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), st.Close())
	}
	return st, err
}

// Begin is BeginTx without options; database/sql does not use it.
func (l *link) Begin() (driver.Tx, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	return l.inner.Begin() //nolint:staticcheck // the only way that some drivers have
}

// BeginTx starts a transaction. A driver that has no options is refused those that are not the default.
func (l *link) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	if b, ok := l.inner.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.ReadOnly || sql.IsolationLevel(opts.Isolation) != sql.LevelDefault {
		return nil, errors.New("begin transaction: the database driver has no isolation levels and no read-only transactions")
	}
	tx, err := l.Begin()
	if err == nil && ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), tx.Rollback())
	}
	return tx, err
}

// CheckNamedValue converts an argument; driver.ErrSkip leaves it to database/sql.
func (l *link) CheckNamedValue(v *driver.NamedValue) error {
	if c, ok := l.inner.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// directLink is a link whose driver runs statements without preparing them.
type directLink struct{ *link }

// ExecContext runs a statement; driver.ErrSkip makes database/sql prepare it.
func (l *directLink) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	if e, ok := l.inner.(driver.ExecerContext); ok {
		return e.ExecContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

// QueryContext runs a query; driver.ErrSkip makes database/sql prepare it.
func (l *directLink) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if l.gone.Load() {
		return nil, driver.ErrBadConn
	}
	if q, ok := l.inner.(driver.QueryerContext); ok {
		return q.QueryContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}
