package dbpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

const (
	cutGrace   = 100 * time.Millisecond // for a driver to come back, once its sockets are closed
	lingerTime = 2 * time.Second        // for a driver to finish behind a closed connection: a request to cancel, a goodbye
	maxStrays  = 16                     // calls into the driver that did not come back; with more, new ones are refused
)

// dialFunc opens a network connection.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// loginFunc connects and logs in by way of a driver, which must dial with what it is given, or pass what it dialled
// itself to adopt. A connection that comes with an error is ignored.
type loginFunc func(ctx context.Context, dial dialFunc) (driver.Conn, error)

// connectOptions of connections. login, fault and bound must be set; other zero fields have the defaults named.
type connectOptions struct {
	login       loginFunc
	fault       func(err error) fault // of a login, as dialect.fault
	dial        dialFunc              // below the login; net.Dialer
	bound       time.Duration         // longest dial and login together
	maxLifetime time.Duration         // of a connection, less up to a tenth; 0 is no limit
	quiet       time.Duration         // a connection that was idle for longer is pinged before it is used; 1 s
	ping        time.Duration         // longest such ping; 1 s, at most a quarter of bound
}

// connections are all that the pool has to one database server. Each is made and checked within its time, whatever the
// driver does: a goroutine is given to the driver, and when the time is over its sockets are closed under it.
type connections struct {
	opt     connectOptions
	group   *life.Group
	sockets atomic.Int64 // open now

	mu      sync.Mutex
	links   map[*link]struct{} // guarded by mu: whatever may have a socket
	strays  int                // guarded by mu: calls into the driver given up and not come back
	number  int                // guarded by mu: of the newest generation
	stopped bool               // guarded by mu
}

// newConnections connects nothing. The values of ctx are kept, its end is not: stop ends it.
func newConnections(ctx context.Context, o connectOptions) *connections {
	if o.dial == nil {
		o.dial = new(net.Dialer).DialContext
	}
	if o.quiet <= 0 {
		o.quiet = time.Second
	}
	if o.ping <= 0 {
		o.ping = min(time.Second, o.bound/4)
	}
	return &connections{opt: o, group: life.NewGroup(context.WithoutCancel(ctx)), links: map[*link]struct{}{}}
}

// generation is the driver.Connector of one *sql.DB. When that one is exchanged, the new one has a new generation.
type generation struct {
	all    *connections
	number int
	broken func(cause error)
	epoch  atomic.Int64 // counts the times that the server was lost
}

// generation makes the next one. broken is called when one of its connections turns out to be lost, once each time
// that the server is lost, by whoever finds it: it should drop the idle connections of its *sql.DB, and must not wait
// for an operation. Connections in use are pinged when they are next taken.
func (c *connections) generation(broken func(cause error)) *generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	return &generation{all: c, number: c.number, broken: broken}
}

// Connect makes a connection within the bound and 0.2 s, or the time that is left to ctx. An error is a *connectError:
// nothing that an operation wanted was sent.
func (g *generation) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.all.opt.bound)
	defer cancel()
	l, err := g.all.open(ctx, g)
	if err != nil {
		return nil, err
	}
	return l.conn(), nil
}

// Driver opens nothing by name: a connection that is not bounded must not come to be.
func (g *generation) Driver() driver.Driver { return noDriver{} }

type noDriver struct{}

// Open refuses.
func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("open database: connections are made by the pool only")
}

// probe connects, logs in and closes again. Only the end of ctx bounds it, with 0.2 s; it is for the breaker, which
// lets it hang on a frozen server, so that the end of the frost shows at once.
func (c *connections) probe(ctx context.Context) error {
	l, err := c.open(ctx, &generation{all: c})
	if err != nil {
		return err
	}
	return l.Close()
}

// open makes a connection until ctx ends.
func (c *connections) open(ctx context.Context, g *generation) (*link, error) {
	l := &link{gen: g, sockets: map[*socket]struct{}{}, born: time.Now()}
	if m := c.opt.maxLifetime; m > 0 {
		l.expires = l.born.Add(m - rand.N(m/10+1))
	}
	l.epoch.Store(g.epoch.Load())
	back, err := c.bounded(ctx, "connect to database", func() error { return l.login(ctx) }, l.cut)
	if back && err == nil && !l.gone.Load() {
		return l, nil
	}
	return nil, l.failed(ctx.Err(), errors.Join(err, l.Close()))
}

// bounded gives f a goroutine and waits for its end, or that of ctx; then it calls cut, which should make f end, and
// waits for a moment more. With back false f has not ended: it is a stray, and what it still does is its own affair.
func (c *connections) bounded(ctx context.Context, name string, f func() error, cut func()) (back bool, err error) {
	call := &stray{all: c}
	done := make(chan error, 1)
	err = call.start(name, func() { done <- life.Call(f) })
	if err != nil {
		return true, err
	}
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
	}
	cut()
	t := time.NewTimer(cutGrace)
	defer t.Stop()
	select {
	case err := <-done:
		return true, err
	case <-t.C:
		call.giveUp()
		return false, ctx.Err()
	}
}

// stray is a call into the driver that may not come back.
type stray struct {
	all           *connections
	ended, counts bool // guarded by all.mu
}

func (s *stray) start(name string, f func()) error {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	switch {
	case s.all.stopped:
		return sdk.WithClass(sdk.ClassUnavailable, ErrStopped)
	case s.all.strays >= maxStrays:
		return sdk.WithClass(sdk.ClassUnavailable, errStrays)
	}
	s.all.group.Go(name, func(context.Context) error {
		defer s.end()
		f()
		return nil
	})
	return nil
}

var errStrays = fmt.Errorf("%d earlier calls to the database driver have not come back", maxStrays)

func (s *stray) end() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.ended = true
	if s.counts {
		s.all.strays--
	}
}

func (s *stray) giveUp() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if !s.ended {
		s.counts = true
		s.all.strays++
	}
}

// connectCounts is a snapshot of connections.
type connectCounts struct {
	Sockets    int // open, for whatever purpose
	Links      int // connections logged in and not closed
	Connecting int // on their way, strays included
	Strays     int // calls into the driver that were given up and have not come back
	Generation int // the newest
}

func (c *connections) counts() connectCounts {
	c.mu.Lock()
	n := connectCounts{Sockets: int(c.sockets.Load()), Strays: c.strays, Generation: c.number}
	links := c.list()
	c.mu.Unlock()
	for _, l := range links {
		switch l.state() {
		case linkOpening:
			n.Connecting++
		case linkOpen:
			n.Links++
		case linkClosed:
		}
	}
	return n
}

// list is every link that may have a socket; c.mu is held.
func (c *connections) list() []*link {
	out := make([]*link, 0, len(c.links))
	for l := range c.links {
		out = append(out, l)
	}
	return out
}

func (c *connections) enter(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links[l] = struct{}{}
}

func (c *connections) leave(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
}

// sweep cuts what drivers keep open behind closed connections for longer than lingerTime. The housekeeper calls it.
func (c *connections) sweep() {
	c.mu.Lock()
	links := c.list()
	c.mu.Unlock()
	for _, l := range links {
		if l.lingers() {
			l.cut()
		}
		l.tidy()
	}
}

// stop cuts every connection and waits for a moment until the driver has come back everywhere; if not, the error names
// what it still does. There are no connections afterwards.
//
//nolint:contextcheck,nolintlint // whoever closes may have a ctx that is over; this has a bound of its own
func (c *connections) stop() error {
	c.mu.Lock()
	c.stopped = true
	links := c.list()
	c.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.group.Context()), lingerTime)
	defer cancel()
	return c.group.Stop(ctx)
}
