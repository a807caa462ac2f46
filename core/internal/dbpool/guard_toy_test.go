package dbpool

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// toyPool is a pool on a toy server, by way of a driver that misbehaves as the test says.
type toyPool struct {
	*Pool
	server *toyServer
	log    *noted
	let    chan struct{} // closed: calls that are stuck in the driver come back
}

// noted is a log that can be read while it is written.
type noted struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *noted) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(b)
}

func (n *noted) count(word string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.buf.String(), word)
}

// newToyPool runs a pool until the test ends, and looks then whether anything is left.
func newToyPool(t *testing.T, deaf bool, o Options) *toyPool {
	t.Helper()
	nothingLeft(t)
	p := &toyPool{server: newToyServer(t), log: &noted{}, let: make(chan struct{})}
	o.Driver, o.DSN, o.Log = "toy", "toy", slog.New(slog.NewTextHandler(p.log, nil))
	d := postgresDialect()
	d.migrations, d.place = nil, func(*Options) string { return "toy" }
	d.fault = func(err error, _ string) fault { return toyFault(err) }
	addr := p.server.addr // a restart keeps it
	d.connector = func(_ *Options, _ access, dial dialFunc) (driver.Connector, error) {
		return toyConnector{toyLogin(addr, deaf, new(atomic.Int64)), dial, p.let}, nil
	}
	var err error
	if p.Pool, err = open(t.Context(), o, d, nil); err != nil {
		t.Fatal(err)
	}
	p.cut, p.abandon = 100*time.Millisecond, 100*time.Millisecond
	p.links.opt.quiet, p.links.opt.ping = 50*time.Millisecond, 100*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("pool", p.Run)
	t.Cleanup(func() {
		p.release()
		p.server.thaw()
		cancel()
		if err := errors.Join(g.Wait(), p.Close()); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.InUse != 0 || s.Sockets != 0 || s.Strays != 0 {
			t.Errorf("left at the end: %+v", s)
		}
	})
	return p
}

// release lets the calls go that are stuck in the driver, once and for all.
func (p *toyPool) release() {
	select {
	case <-p.let:
	default:
		close(p.let)
	}
}

// toyConnector makes connections that know more tricks than those of the rig:
//
//	STUCK   does not come back, whatever its context and its socket do
//	BROKEN  is sent, and then answered with driver.ErrBadConn
//	BAD     is refused by the server; what is asked on the same connection then is stuck
type toyConnector struct {
	login loginFunc
	dial  dialFunc
	let   chan struct{}
}

func (c toyConnector) Driver() driver.Driver { return noDriver{} }
func (c toyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.login(ctx, c.dial)
	if err != nil {
		return nil, err
	}
	return &trickyConn{toyConn: conn.(*toyConn), let: c.let}, nil
}

type trickyConn struct {
	*toyConn
	let      chan struct{}
	poisoned bool
}

func (c *trickyConn) ask(ctx context.Context, line string) error {
	if c.poisoned || strings.HasPrefix(line, "STUCK") {
		<-c.let
	}
	err := c.toyConn.ask(ctx, line)
	switch {
	case errors.Is(err, errAnswer):
		c.poisoned = true
	case strings.HasPrefix(line, "BROKEN"):
		return errors.Join(driver.ErrBadConn, c.toyConn.Close())
	}
	return err
}

func (c *trickyConn) ExecContext(ctx context.Context, q string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), c.ask(ctx, q)
}

func (c *trickyConn) QueryContext(ctx context.Context, q string, _ []driver.NamedValue) (driver.Rows, error) {
	return &oneZero{}, c.ask(ctx, q)
}

// oneZero is an answer of one row.
type oneZero struct{ done bool }

func (*oneZero) Columns() []string { return []string{"n"} }
func (*oneZero) Close() error      { return nil }

func (r *oneZero) Next(into []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	into[0] = int64(0)
	return nil
}

// write and read ask the server for what a trick is named after, by ways that the pool takes for a sink's own.
func (p *toyPool) write(ctx context.Context, holder, trick string) error {
	c := &call{changes: []change{{exec: &execution{st: &statement{text: trick + " write", print: trick + " write"}, want: 1}}}, rows: 1, execs: true}
	_, err := (&store{pool: p.Pool, line: p.guard.join(holder)}).submit(ctx, c)
	return err
}

func (p *toyPool) read(ctx context.Context, holder, trick string) error {
	st := &statement{text: trick + " read", print: trick + " read"}
	_, err := (&store{pool: p.Pool, line: p.guard.join(holder)}).read(ctx, st, nil, 10)
	return err
}

// works asks until the pool serves again.
func (p *toyPool) works(t *testing.T) {
	t.Helper()
	var err error
	if !eventually(func() bool { err = p.write(t.Context(), "last", "GOOD"); return err == nil }) {
		t.Errorf("it does not work again: %v", err)
	}
}

// hole is how a driver takes it that the server falls silent.
type hole struct {
	name, trick, says string
	deaf              bool
	limit             time.Duration
	abandoned         uint64
}

// class is that of what was lost in it: a commit was sent, and so may have been what was given up.
func (h *hole) class(kind string) sdk.Class {
	if h.abandoned > 0 || kind == "write" {
		return sdk.ClassUnknown
	}
	return sdk.ClassUnavailable
}

// P7: a black hole. The caller is released by the time of the operation and the grace: for a driver that heeds its
// context by that, for a deaf one by the cut, and for one that is stuck by giving it up.
func TestABlackHoleReleasesItsCaller(t *testing.T) {
	const op = 150 * time.Millisecond
	for _, c := range []hole{
		{"heeds", "GOOD", "", hears, op, 0},
		{"deaf", "GOOD", "is cancelled", deaf, op + 100*time.Millisecond, 0},
		{"stuck", "STUCK", "is abandoned", deaf, op + 200*time.Millisecond, 1},
	} {
		for kind, ask := range map[string]func(*toyPool, context.Context, string, string) error{"read": (*toyPool).read, "write": (*toyPool).write} {
			t.Run(c.name+" "+kind, func(t *testing.T) {
				p := newToyPool(t, c.deaf, Options{MaxOpen: 2, OperationTimeout: op})
				if err := ask(p, t.Context(), "emr", "GOOD"); err != nil {
					t.Fatal(err)
				}
				p.server.onLine(func(_ net.Conn, line string) bool {
					if line == "GOOD read" || line == "COMMIT" {
						p.server.freeze()
					}
					return true
				})
				began := time.Now()
				err := ask(p, t.Context(), "emr", c.trick)
				took := time.Since(began)
				t.Logf("released after %v: %v", took.Round(time.Millisecond), err)
				if want := c.class(kind); sdk.ClassOf(err) != want {
					t.Errorf("class %s, want %s", sdk.ClassOf(err), want)
				}
				if took > c.limit+scanEvery+2*time.Second {
					t.Errorf("released after %v, the limit is %v", took, c.limit)
				}
				if !eventually(func() bool { // the caller is released first
					s := p.Stats()
					return s.Abandoned == c.abandoned && s.InUse == 0 && s.Generation == 1+int(c.abandoned)
				}) {
					t.Errorf("stats %+v", p.Stats())
				}
				if c.says != "" && !eventually(func() bool { // the cut comes before its line
					return p.log.count(c.says+"; its connection")+p.log.count(c.says+`" holder=emr`) > 0
				}) {
					t.Errorf("%q is not in the log with its holder", c.says)
				}
				p.server.onLine(nil)
				p.server.thaw()
				p.works(t)
			})
		}
	}
}

// After a suspend everything is late at once: what is cut has its grace all the same.
func TestACutHasItsGrace(t *testing.T) {
	g := newGuard(2, 1, (*breaker)(nil).allow)
	j := &job{line: g.join("emr"), done: make(chan struct{})}
	l := &lease{jobs: []*job{j}, since: time.Now().Add(-8 * time.Hour)}
	g.leases[l] = struct{}{}
	for _, want := range []struct {
		wait       time.Duration
		late, dead int
	}{{0, 1, 0}, {0, 0, 0}, {2 * time.Second, 0, 1}} {
		l.cut = l.cut.Add(-want.wait)
		if late, dead := g.overdue(time.Second, time.Second); len(late) != want.late || len(dead) != want.dead {
			t.Errorf("%d late and %d dead, want %+v", len(late), len(dead), want)
		}
	}
}

// P6: what one sink does to a connection, another never sees.
func TestAPoisonedConnectionHarmsNobodyElse(t *testing.T) {
	p := newToyPool(t, deaf, Options{MaxOpen: 2, PerSink: 1, OperationTimeout: 100 * time.Millisecond})
	ctx := t.Context()
	for _, poison := range []string{"BAD", "BROKEN", "STUCK"} {
		for kind, ask := range map[string]func(*toyPool, context.Context, string, string) error{"read": (*toyPool).read, "write": (*toyPool).write} {
			if err := ask(p, ctx, "wild", poison); err == nil {
				t.Errorf("%s %s: no error", poison, kind)
			}
			for range 3 {
				if err := errors.Join(p.read(ctx, "polite", "GOOD"), p.write(ctx, "polite", "GOOD")); err != nil {
					t.Errorf("after %s %s: %v", poison, kind, err)
				}
			}
		}
	}
}

// Commits wait for each other in the server: while others ask too, one sink has one write under way. Its reads have half of the places.
func TestASinkAmongOthersWritesOneByOne(t *testing.T) {
	p := newToyPool(t, hears, Options{MaxOpen: 4, OperationTimeout: time.Minute, AcquireTimeout: time.Minute})
	var all sync.WaitGroup
	ask := func(do func(context.Context, string, string) error) {
		for range 5 {
			all.Go(func() {
				if err := do(t.Context(), "greedy", "GOOD"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	under := func(what string, n int, do func(context.Context, string, string) error) {
		p.server.freeze()
		ask(do)
		if !eventually(func() bool { s := p.Stats(); return s.InUse == n && s.InUse+s.Waiting == 5 }) {
			t.Errorf("%s: %d are under way and %d wait, want %d", what, p.Stats().InUse, p.Stats().Waiting, n)
		}
		p.server.thaw()
		all.Wait()
	}
	under("alone", 4, p.write)
	if err := p.write(t.Context(), "polite", "GOOD"); err != nil {
		t.Fatal(err)
	}
	under("writes of one among others", 1, p.write)
	under("reads of one among others", 2, p.read)
}

// When one connection is lost, those that nobody uses go with it.
func TestIdleConnectionsGoTogether(t *testing.T) {
	p := newToyPool(t, hears, Options{MaxOpen: 4, OperationTimeout: time.Minute})
	p.server.freeze()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := p.read(t.Context(), "emr", "GOOD"); err != nil {
				t.Error(err)
			}
		})
	}
	if !eventually(func() bool { return p.Stats().InUse == 4 }) {
		t.Fatal("not in use")
	}
	p.server.thaw()
	all.Wait()
	p.server.restart()
	if err := p.write(t.Context(), "emr", "GOOD"); err != nil {
		t.Errorf("the first write after a restart: %v", err)
	}
	if s := p.Stats(); s.Open != 1 || s.Sockets != 1 {
		t.Errorf("stats %+v", s)
	}
}

// An operation that is lost after it was sent is unknown only where it is the commit; before that, the server has undone
// it. What was surely not sent is never unknown.
func TestClassOfALostOperation(t *testing.T) {
	p := newToyPool(t, hears, Options{MaxOpen: 2, MaxIdle: 1})
	cutAt := func(word string) {
		p.server.onLine(func(_ net.Conn, line string) bool { return !strings.HasPrefix(line, word) })
	}
	for _, c := range []struct {
		at, trick string
		want      sdk.Class
	}{
		{"COMMIT", "GOOD", sdk.ClassUnknown},
		{"GOOD", "GOOD", sdk.ClassUnavailable},
		{"nothing", "BROKEN", sdk.ClassUnavailable},
	} {
		cutAt(c.at)
		if err := p.write(t.Context(), "emr", c.trick); sdk.ClassOf(err) != c.want {
			t.Errorf("cut at %s: %v, class %s, want %s", c.at, err, sdk.ClassOf(err), c.want)
		}
		p.server.onLine(nil)
		p.works(t)
	}
	// The connection is cut when the last answer before the commit is there: the commit cannot be sent.
	p.server.onLine(func(_ net.Conn, line string) bool {
		if strings.HasPrefix(line, "GOOD") {
			p.guard.mu.Lock()
			defer p.guard.mu.Unlock()
			for l := range p.guard.leases {
				l.link.mu.Lock()
				for s := range l.link.sockets {
					s.Conn.(*net.TCPConn).CloseWrite()
				}
				l.link.mu.Unlock()
			}
		}
		return true
	})
	if err := p.write(t.Context(), "emr", "GOOD"); sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("a commit that was not sent: %v, class %s", err, sdk.ClassOf(err))
	}
	p.server.onLine(nil)
	p.works(t)
}

// While the server is away, requests are refused at once, with its reason; the first probe that succeeds ends that.
func TestTheBreakerRefusesAtOnce(t *testing.T) {
	p := newToyPool(t, hears, Options{MaxOpen: 4})
	p.server.stop()
	var err error
	if !eventually(func() bool { err = p.write(t.Context(), "emr", "GOOD"); return errors.Is(err, ErrDown) }) {
		t.Fatalf("it did not open: %v", err)
	}
	if sdk.ClassOf(err) != sdk.ClassUnavailable || !strings.Contains(err.Error(), "the server is not reached") {
		t.Errorf("got %v, class %s", err, sdk.ClassOf(err))
	}
	before := p.Stats()
	for range 1000 {
		if err := p.read(t.Context(), "emr", "GOOD"); !errors.Is(err, ErrDown) {
			t.Fatalf("got %v", err)
		}
	}
	if s := p.Stats(); !s.Breaker.Open || s.Breaker.Since.IsZero() || s.Breaker.Cause == "" || s.WaitCount != before.WaitCount {
		t.Errorf("stats %+v, before %+v", s, before)
	}
	p.server.start(p.server.addr)
	p.works(t)
	if s := p.Stats().Breaker; s.Open || s.Opened != 1 || s.Cause != "" {
		t.Errorf("got %+v", s)
	}
	if p.log.count("is unavailable") != 1 || p.log.count("is available again") != 1 {
		t.Errorf("not one line for each change:\n%s", &p.log.buf)
	}
}

// What waits in the queue when the breaker opens is not sent into the void.
func TestTheBreakerRefusesWhatWaits(t *testing.T) {
	p := newToyPool(t, hears, Options{MaxOpen: 2, OperationTimeout: time.Minute, AcquireTimeout: time.Minute})
	p.server.freeze()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := p.read(t.Context(), "emr", "GOOD"); errors.Is(err, ErrDown) {
				t.Error("what had begun was refused")
			}
		})
	}
	if !eventually(func() bool { return p.Stats().InUse == 2 }) {
		t.Fatal("not in use")
	}
	refused := make(chan error, 5)
	for range cap(refused) {
		all.Go(func() { refused <- p.write(t.Context(), "emr", "GOOD") })
	}
	if !eventually(func() bool { return p.Stats().Waiting == cap(refused) }) {
		t.Fatal("not waiting")
	}
	for range tripsAt {
		p.breaker.fails(time.Now(), errGone)
	}
	if err := p.read(t.Context(), "emr", "GOOD"); !errors.Is(err, ErrDown) {
		t.Errorf("what came then: %v", err)
	}
	if n := p.Stats().InUse; n != 2 {
		t.Errorf("it waited for a worker: %d in use", n)
	}
	p.server.thaw()
	p.server.stop()
	all.Wait()
	for range cap(refused) {
		if err := <-refused; !errors.Is(err, ErrDown) || !strings.HasPrefix(err.Error(), "GOOD write: not sent") {
			t.Errorf("got %v", err)
		}
	}
	p.server.start(p.server.addr)
	p.works(t)
}

var (
	faultsFlag = flag.Int("faults", 500, "operations of TestRandomFaults")
	seedFlag   = flag.Uint64("seed", 0, "of random faults; 0 is a new one")
)

// P9: whatever happens to the server, the network and the driver, no lease and no socket is left.
func TestRandomFaults(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	const open = 6
	p := newToyPool(t, deaf, Options{MaxOpen: open, OperationTimeout: 30 * time.Millisecond, ConnectTimeout: 40 * time.Millisecond, AcquireTimeout: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var faults, callers sync.WaitGroup
	faults.Go(func() { p.trouble(ctx, rand.New(rand.NewPCG(seed, 0))) })
	var next, ok atomic.Int64
	var classes [8]atomic.Int64
	for n := range 2 * open {
		dice := rand.New(rand.NewPCG(seed, uint64(n+1)))
		callers.Go(func() {
			for next.Add(1) <= int64(*faultsFlag) {
				err := p.roll(ctx, dice)
				classes[sdk.ClassOf(err)].Add(1)
				if err == nil {
					ok.Add(1)
				} else if sdk.ClassOf(err) == sdk.ClassNone {
					t.Errorf("an error without a class: %v", err)
				}
				if errors.Is(err, ErrDown) { // else the whole test is refused while it is open
					p.pause(ctx)
				}
			}
		})
	}
	callers.Wait()
	cancel()
	faults.Wait()
	p.server.onLine(nil)
	p.release()
	p.works(t)
	if !eventually(func() bool { s := p.Stats(); return s.InUse == 0 && s.Sockets <= open && s.Strays == 0 }) {
		t.Errorf("left: %+v", p.Stats())
	}
	s := p.Stats()
	t.Logf("%d operations, %d served; abandoned %d, the breaker opened %d times, generation %d, at the end %d sockets", *faultsFlag, ok.Load(), s.Abandoned, s.Breaker.Opened, s.Generation, s.Sockets)
	if ok.Load() == 0 || ok.Load() == int64(*faultsFlag) {
		t.Error("nothing was tested")
	}
}

// pause waits until the breaker has closed.
func (p *toyPool) pause(ctx context.Context) {
	for ctx.Err() == nil && p.breaker.allow() != nil {
		time.Sleep(time.Millisecond)
	}
}

// trouble freezes and restarts the server until ctx ends.
func (p *toyPool) trouble(ctx context.Context, dice *rand.Rand) {
	for ctx.Err() == nil {
		switch dice.IntN(4) {
		case 0:
			p.server.freeze()
			time.Sleep(time.Duration(dice.IntN(60)) * time.Millisecond)
			p.server.thaw()
		case 1:
			p.server.restart()
		case 2:
			if dice.IntN(8) == 0 { // long enough for the breaker
				p.server.stop()
				time.Sleep(100 * time.Millisecond)
				p.server.start(p.server.addr)
			}
		}
		time.Sleep(time.Duration(dice.IntN(40)) * time.Millisecond)
	}
}

// roll makes one operation, with a trick now and then.
func (p *toyPool) roll(ctx context.Context, dice *rand.Rand) error {
	ask, trick := p.read, "GOOD"
	if dice.IntN(2) == 0 {
		ask = p.write
	}
	switch dice.IntN(40) {
	case 0:
		trick = "BAD"
	case 1:
		trick = "BROKEN"
	case 2:
		if p.Stats().Abandoned < 20 { // each keeps a goroutine until the end
			trick = "STUCK"
		}
	case 3, 4:
		out, cancel := context.WithTimeout(ctx, time.Duration(dice.IntN(3000))*time.Microsecond)
		defer cancel()
		ctx = out
	}
	return ask(ctx, []string{"emr", "pacs", "lab"}[dice.IntN(3)], trick)
}
