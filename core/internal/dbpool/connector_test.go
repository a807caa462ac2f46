package dbpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

func TestConnectIsBounded(t *testing.T) {
	const bound = 400 * time.Millisecond
	hole := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, c := range []struct {
		name string
		deaf bool
		dial dialFunc
		text string
	}{
		{name: "frozen server", text: "does not answer the login"},
		{name: "frozen server, deaf driver", deaf: deaf, text: "does not answer the login"},
		{name: "nobody takes the connection", dial: hole, text: "is not reached within"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.deaf, func(o *connectOptions) { o.bound, o.dial = bound, c.dial })
			r.server.freeze()
			var err error
			within(t, bound, func() { _, err = r.db.ExecContext(t.Context(), "write") })
			isConnectError(t, err, c.text)
			if !lost(err, nil) {
				t.Error("a server that does not answer does not count as lost")
			}
			if n := r.counts(); n != (connectCounts{Generation: 1}) {
				t.Errorf("left behind: %+v", n)
			}
			r.server.thaw()
			if _, err := r.db.ExecContext(t.Context(), "write"); err != nil && c.dial == nil {
				t.Errorf("after the frost: %v", err)
			}
		})
	}
}

func isConnectError(t *testing.T, err error, text string) {
	t.Helper()
	var ce *connectError
	if !errors.As(err, &ce) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("got %v, class %v", err, sdk.ClassOf(err))
	} else if !strings.Contains(err.Error(), text) {
		t.Errorf("%q does not say %q", err, text)
	}
}

// A driver that does not come back at all costs a goroutine until it does, and its late connection is closed.
func TestConnectGivesUpOnStray(t *testing.T) {
	let := make(chan struct{})
	r := newRig(t, deaf, func(o *connectOptions) {
		o.bound = 100 * time.Millisecond
		o.login = func(context.Context, dialFunc) (driver.Conn, error) {
			<-let
			nc, mate := net.Pipe()
			return &toyConn{nc: nc, closed: new(atomic.Int64)}, mate.Close()
		}
	})
	within(t, r.opt.bound, func() {
		var all sync.WaitGroup
		for range maxStrays {
			all.Go(func() {
				_, err := r.gen.Connect(t.Context())
				isConnectError(t, err, "is not reached within")
			})
		}
		all.Wait()
	})
	began := time.Now()
	_, err := r.db.ExecContext(t.Context(), "write")
	isConnectError(t, err, "16 earlier calls")
	if took := time.Since(began); took > r.opt.bound {
		t.Errorf("the driver has %d calls and got another: %v", maxStrays, took)
	}
	if n := r.counts(); n.Strays != maxStrays || n.Sockets != 0 {
		t.Errorf("got %+v", n)
	}
	close(let)
	if !eventually(func() bool { return r.counts().Strays == 0 }) {
		t.Errorf("got %+v", r.counts())
	}
}

func TestConnectLateConnectionIsClosed(t *testing.T) {
	let := make(chan struct{})
	var driverClosed atomic.Int64
	r := newRig(t, deaf, func(o *connectOptions) {
		o.bound = 100 * time.Millisecond
		o.login = func(context.Context, dialFunc) (driver.Conn, error) {
			<-let
			nc, mate := net.Pipe()
			return &toyConn{nc: nc, closed: &driverClosed}, mate.Close()
		}
	})
	_, err := r.db.ExecContext(t.Context(), "write")
	isConnectError(t, err, "is not reached within")
	close(let)
	if !eventually(func() bool { return driverClosed.Load() == 1 }) {
		t.Error("the connection that came late was not closed")
	}
}

// A dial that comes back after the cut finds nobody: what it brings is closed, and the driver may dial no more.
func TestConnectLateSocketIsClosed(t *testing.T) {
	let, dialled := make(chan struct{}), make(chan error, 2)
	own, mate := net.Pipe()
	r := newRig(t, deaf, func(o *connectOptions) {
		o.bound = 50 * time.Millisecond
		o.dial = func(context.Context, string, string) (net.Conn, error) { <-let; return own, nil }
		o.login = func(ctx context.Context, dial dialFunc) (driver.Conn, error) {
			for range 2 {
				_, err := dial(ctx, "tcp", "")
				dialled <- err
			}
			return nil, errCut
		}
	})
	_, err := r.db.ExecContext(t.Context(), "write")
	isConnectError(t, err, "is not reached within")
	close(let)
	for range 2 {
		if err := <-dialled; !errors.Is(err, errCut) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := mate.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the socket is open: %v", err)
	}
	if !eventually(func() bool { return r.counts() == connectCounts{Generation: 1} }) {
		t.Errorf("left behind: %+v", r.counts())
	}
}

func TestConnectFails(t *testing.T) {
	r := newRig(t, hears)
	for _, c := range []struct {
		name string
		do   func() error
		text string
		lost bool
	}{
		{"cut in the login", func() error {
			r.server.onLine(func(net.Conn, string) bool { return false })
			_, err := r.db.ExecContext(t.Context(), "write")
			r.server.onLine(nil)
			return err
		}, "was lost", true},
		{"the caller leaves in the login", func() error {
			ctx, cancel := context.WithCancel(t.Context())
			r.server.onLine(func(net.Conn, string) bool { cancel(); return false })
			r.server.freeze()
			thawed := make(chan struct{})
			context.AfterFunc(ctx, func() { r.server.thaw(); close(thawed) })
			time.AfterFunc(50*time.Millisecond, cancel)
			_, err := r.db.ExecContext(ctx, "write")
			r.server.onLine(nil)
			<-thawed // not in the next case
			return err
		}, "the caller gave up", false},
		{"a caller in a hurry", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			r.server.freeze()
			_, err := r.db.ExecContext(ctx, "write")
			r.server.thaw()
			return err
		}, "does not answer the login", false},
		{"nobody listens", func() error {
			r.server.stop()
			_, err := r.db.ExecContext(t.Context(), "write")
			r.server.start(r.server.addr)
			return err
		}, "the server is not reached", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do()
			isConnectError(t, err, c.text)
			if lost(err, nil) != c.lost {
				t.Errorf("lost is %v", !c.lost)
			}
			if !eventually(func() bool { return r.counts().Sockets == 0 }) {
				t.Errorf("left behind: %+v", r.counts())
			}
		})
	}
}

// An error that is driver.ErrBadConn must not make database/sql connect three times over.
func TestConnectIsTriedOnce(t *testing.T) {
	var tries atomic.Int64
	r := newRig(t, hears, func(o *connectOptions) {
		o.login = func(context.Context, dialFunc) (driver.Conn, error) {
			tries.Add(1)
			return nil, driver.ErrBadConn
		}
	})
	_, err := r.db.ExecContext(t.Context(), "write")
	isConnectError(t, err, "was lost")
	if tries.Load() != 1 {
		t.Errorf("%d logins", tries.Load())
	}
}

func TestConnectPanicIsAnError(t *testing.T) {
	r := newRig(t, hears, func(o *connectOptions) {
		o.login = func(context.Context, dialFunc) (driver.Conn, error) { panic("bug") }
	})
	_, err := r.db.ExecContext(t.Context(), "write")
	isConnectError(t, err, "the host has a fault here")
}

// The server goes silent in the middle of an operation, and the driver does not look at its context.
func TestCutFreesOperation(t *testing.T) {
	r := newRig(t, deaf)
	c, l := r.take()
	defer c.Close()
	mark := l.mark()
	r.server.freeze()
	defer r.server.thaw()
	out := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	go func() {
		_, err := c.ExecContext(ctx, "write")
		out <- err
	}()
	<-ctx.Done()
	select {
	case err := <-out:
		t.Fatalf("the driver is not deaf: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	began := time.Now()
	l.cut()
	err := <-out
	t.Logf("came back %v after the cut", time.Since(began).Round(time.Microsecond))
	if err == nil || !l.sentSince(mark) {
		t.Errorf("it is not known that it was sent: %v", err)
	}
	if r.counts().Sockets != 0 || r.broken.Load() != 0 {
		t.Errorf("%+v, broken %d", r.counts(), r.broken.Load())
	}
	mark = l.mark()
	_, err = c.ExecContext(t.Context(), "write")
	if err == nil || l.sentSince(mark) {
		t.Errorf("after the cut it seems to be sent: %v", err)
	}
}

// P3: the server is restarted while 8 connections are idle.
func TestRestartWithIdleConnections(t *testing.T) {
	const quiet = 50 * time.Millisecond
	r := newRig(t, hears, func(o *connectOptions) { o.quiet = quiet })
	r.hold(rigOpen)
	r.server.restart()
	time.Sleep(2 * quiet)
	for i := range 100 {
		if _, err := r.db.ExecContext(t.Context(), "write"); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if r.broken.Load() != 1 {
		t.Errorf("the loss was told %d times", r.broken.Load())
	}
	if n := r.server.logins.Load(); n != rigOpen+1 {
		t.Errorf("%d logins, want %d: the idle ones and one more", n, rigOpen+1)
	}
	if n := r.counts(); n.Links != 1 || n.Sockets != 1 {
		t.Errorf("got %+v, want 1 link: the idle ones are closed", n)
	}
}

// An operation finds out that the server was restarted; those that were in use then are pinged before they are used.
func TestRestartInUse(t *testing.T) {
	r := newRig(t, hears)
	c1, _ := r.take()
	c2, l2 := r.take()
	if _, err := c2.ExecContext(t.Context(), "write"); err != nil {
		t.Fatal(err)
	}
	r.server.restart()
	if _, err := c1.ExecContext(t.Context(), "write"); err == nil {
		t.Fatalf("got %v", err)
	}
	if r.broken.Load() != 1 {
		t.Fatalf("the loss was told %d times", r.broken.Load())
	}
	c2.Close()
	c1.Close()
	if l2.gone.Load() {
		t.Fatal("the second one cannot know yet")
	}
	if _, err := r.db.ExecContext(t.Context(), "write"); err != nil {
		t.Fatalf("not a second after: %v", err)
	}
	if n := r.server.pings.Load(); n != 0 || r.broken.Load() != 1 {
		t.Errorf("%d pings answered, the loss told %d times", n, r.broken.Load())
	}
}

func TestQuietConnectionIsPinged(t *testing.T) {
	const quiet = 100 * time.Millisecond
	r := newRig(t, deaf, func(o *connectOptions) { o.quiet, o.bound = quiet, 800*time.Millisecond })
	write := func() {
		t.Helper()
		if _, err := r.db.ExecContext(t.Context(), "write"); err != nil {
			t.Fatal(err)
		}
	}
	write()
	write()
	if n := r.server.pings.Load(); n != 0 {
		t.Fatalf("%d pings of a connection in use", n)
	}
	time.Sleep(2 * quiet)
	write()
	if n := r.server.pings.Load(); n != 1 {
		t.Fatalf("%d pings after a pause", n)
	}
	r.hold(rigOpen)
	time.Sleep(2 * quiet)
	r.server.freeze()
	var err error
	ctx, cancel := context.WithTimeout(t.Context(), r.opt.bound) // as the pool takes a connection
	defer cancel()
	within(t, r.opt.bound, func() { _, err = r.db.ExecContext(ctx, "write") })
	isConnectError(t, err, "does not answer the login")
	if !lost(err, nil) {
		t.Error("a connect in what the ping left of the time does not count")
	}
	r.server.thaw()
	if r.broken.Load() != 1 {
		t.Errorf("the loss was told %d times", r.broken.Load())
	}
	write()
}

// A ping that does not come back although its socket is cut keeps the driver's connection until it does.
func TestStrayPing(t *testing.T) {
	let := make(chan struct{})
	r := newRig(t, hears, func(o *connectOptions) {
		o.quiet, o.ping = time.Millisecond, 20*time.Millisecond
		login := o.login
		o.login = func(ctx context.Context, dial dialFunc) (driver.Conn, error) {
			c, err := login(ctx, dial)
			if err != nil {
				return nil, err
			}
			return &stuckPing{c.(*toyConn), let}, nil
		}
	})
	r.hold(1)
	time.Sleep(10 * time.Millisecond)
	if _, err := r.db.ExecContext(t.Context(), "write"); err != nil {
		t.Fatal(err)
	}
	if n := r.counts(); n.Strays != 1 || n.Sockets != 1 || r.closed.Load() != 0 {
		t.Errorf("got %+v, %d closed while the driver is in them", n, r.closed.Load())
	}
	close(let)
	if !eventually(func() bool { return r.counts().Strays == 0 && r.closed.Load() == 1 }) {
		t.Errorf("got %+v, %d closed", r.counts(), r.closed.Load())
	}
}

type stuckPing struct {
	*toyConn
	let chan struct{}
}

func (c *stuckPing) Ping(context.Context) error { <-c.let; return nil }

func TestLifetimeHasJitter(t *testing.T) {
	const life = time.Hour
	r := newRig(t, hears, func(o *connectOptions) { o.maxLifetime = life })
	least, most := 2*life, time.Duration(0)
	for range rigOpen - 1 {
		c, l := r.take()
		defer c.Close()
		age := l.expires.Sub(l.born)
		least, most = min(least, age), max(most, age)
	}
	if least < life*9/10 || most > life*11/10 || least == most {
		t.Errorf("lifetimes from %v to %v", least, most)
	}
	c, l := r.take()
	l.expires = time.Now().Add(-time.Second)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return l.state() == linkClosed }) {
		t.Error("a connection beyond its lifetime was kept")
	}
}

// A caller who leaves spoils the connection and says nothing about the server.
func TestCancelIsNoLoss(t *testing.T) {
	r := newRig(t, hears)
	r.hold(3)
	c, l := r.take()
	r.server.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	mark := l.mark()
	_, err := c.ExecContext(ctx, "write")
	r.server.thaw()
	if err == nil || !l.sentSince(mark) {
		t.Errorf("it is not known that it was sent: %v", err)
	}
	c.Close()
	if l.state() != linkClosed {
		t.Error("a connection in the middle of an answer was kept")
	}
	if n := r.counts(); r.broken.Load() != 0 || n.Links != 2 {
		t.Errorf("the loss was told %d times; %+v", r.broken.Load(), n)
	}
}
