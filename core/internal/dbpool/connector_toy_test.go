package dbpool

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// toyServer answers each line with "ok", and what begins with BAD with "no", on a real port. It can be frozen and
// restarted.
type toyServer struct {
	t              *testing.T
	addr           string
	logins, writes atomic.Int64
	pings          atomic.Int64

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]struct{}
	frost chan struct{} // closed: answers
	hook  func(net.Conn, string) (goOn bool)
	done  sync.WaitGroup
}

func newToyServer(t *testing.T) *toyServer {
	t.Helper()
	s := &toyServer{t: t, conns: map[net.Conn]struct{}{}, frost: make(chan struct{})}
	close(s.frost)
	s.start("127.0.0.1:0")
	t.Cleanup(func() {
		s.thaw()
		s.stop()
	})
	return s
}

func (s *toyServer) start(addr string) {
	s.t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.ln, s.addr = ln, ln.Addr().String()
	s.mu.Unlock()
	s.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.ln == ln {
				s.conns[c] = struct{}{}
			} else {
				c.Close() // it came while the server stopped
			}
			s.mu.Unlock()
			s.done.Go(func() { s.serve(c) })
		}
	})
}

func (s *toyServer) stop() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *toyServer) restart() {
	s.stop()
	s.start(s.addr)
}

func (s *toyServer) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frost = make(chan struct{})
}

func (s *toyServer) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.frost:
	default:
		close(s.frost)
	}
}

// onLine is called for each line before it is answered; false ends the connection.
func (s *toyServer) onLine(f func(c net.Conn, line string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

func (s *toyServer) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		hook := s.hook
		s.mu.Unlock()
		if hook != nil && !hook(c, line) {
			return
		}
		s.mu.Lock()
		frost := s.frost
		s.mu.Unlock()
		<-frost
		switch line {
		case "login":
			s.logins.Add(1)
		case "ping":
			s.pings.Add(1)
		default:
			s.writes.Add(1)
		}
		answer := "ok\n"
		if strings.HasPrefix(line, "BAD") {
			answer = "no\n"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// toyConn is a driver's connection to it. One that is deaf does not look at its contexts, as some drivers do not.
type toyConn struct {
	nc     net.Conn
	in     *bufio.Reader
	deaf   bool
	closed *atomic.Int64
}

// toyLogin is the driver's way to connect.
func toyLogin(addr string, deaf bool, closed *atomic.Int64) loginFunc {
	return func(ctx context.Context, dial dialFunc) (driver.Conn, error) {
		nc, err := dial(ctx, "tcp", addr)
		if err != nil {
			return (*toyConn)(nil), err
		}
		c := &toyConn{nc: nc, in: bufio.NewReader(nc), deaf: deaf, closed: closed}
		return c, c.ask(ctx, "login") // a failed login leaves the socket open, as some drivers do
	}
}

func (c *toyConn) ask(ctx context.Context, line string) error {
	if !c.deaf {
		stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if _, err := io.WriteString(c.nc, line+"\n"); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if answer == "no\n" {
		return errAnswer
	}
	return nil
}

func (c *toyConn) Ping(ctx context.Context) error              { return c.ask(ctx, "ping") }
func (c *toyConn) Prepare(string) (driver.Stmt, error)         { return nil, errors.ErrUnsupported }
func (c *toyConn) Begin() (driver.Tx, error)                   { return nil, errors.ErrUnsupported }
func (c *toyConn) Close() error                                { c.closed.Add(1); return c.nc.Close() }
func (c *toyConn) CheckNamedValue(nv *driver.NamedValue) error { return nil }

func (c *toyConn) ExecContext(ctx context.Context, q string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, c.ask(ctx, q)
}

const (
	deaf  = true
	hears = false
)

// rig is a pool's worth of connections to a toy server.
type rig struct {
	*connections
	t      *testing.T
	server *toyServer
	gen    *generation
	db     *sql.DB
	broken atomic.Int64
	closed atomic.Int64 // driver connections that were closed
}

const rigOpen = 8

// newRig checks at the end that no goroutine and no socket is left.
func newRig(t *testing.T, deaf bool, change ...func(*connectOptions)) *rig {
	t.Helper()
	nothingLeft(t)
	return newRigOn(t, deaf, change...)
}

// newRigOn leaves that check to the caller, who has servers of its own.
func newRigOn(t *testing.T, deaf bool, change ...func(*connectOptions)) *rig {
	t.Helper()
	r := &rig{t: t, server: newToyServer(t)}
	o := connectOptions{fault: toyFault, login: toyLogin(r.server.addr, deaf, &r.closed), bound: 500 * time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	r.connections = newConnections(t.Context(), o)
	r.gen = r.generation(func(error) {
		r.broken.Add(1)
		r.db.SetMaxIdleConns(0)
		r.db.SetMaxIdleConns(rigOpen)
	})
	r.db = sql.OpenDB(r.gen)
	r.db.SetMaxOpenConns(rigOpen)
	r.db.SetMaxIdleConns(rigOpen)
	t.Cleanup(func() {
		if err := errors.Join(r.db.Close(), r.stop()); err != nil {
			t.Error(err)
		}
		if n := r.counts(); n.Sockets != 0 || n.Links != 0 || n.Strays != 0 {
			t.Errorf("left at the end: %+v", n)
		}
	})
	return r
}

// nothingLeft looks, when the test's other ends are done, for goroutines and sockets that were not there before.
func nothingLeft(t *testing.T) {
	t.Helper()
	old, fds := goleak.IgnoreCurrent(), openSockets()
	t.Cleanup(func() {
		if err := goleak.Find(old); err != nil {
			t.Error(err)
		}
		if !eventually(func() bool { return openSockets() <= fds }) {
			t.Errorf("%d sockets are open, %d were before", openSockets(), fds)
		}
	})
}

// openSockets counts those of this process, where the system shows them.
func openSockets() (n int) {
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return 0
	}
	for _, f := range names {
		if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func eventually(f func() bool) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}

// within runs f, which has to end within the limit and 0.2 s; how late this machine's clocks ring is taken off.
func within(t *testing.T, limit time.Duration, f func()) time.Duration {
	t.Helper()
	began := time.Now()
	rang := make(chan time.Duration, 1)
	go func() {
		time.Sleep(limit)
		rang <- time.Since(began) - limit
	}()
	f()
	took := time.Since(began)
	late := <-rang
	if took > limit+200*time.Millisecond+2*late {
		t.Errorf("took %v, the limit is %v (clocks rang %v late)", took, limit, late)
	}
	t.Logf("limit %v: took %v (clocks rang %v late)", limit, took.Round(time.Millisecond), late.Round(time.Millisecond))
	return took
}

// hold takes n connections at once, writes through each and gives them back: they are idle afterwards.
func (r *rig) hold(n int) {
	r.t.Helper()
	conns := make([]*sql.Conn, n)
	for i := range conns {
		c, err := r.db.Conn(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := c.ExecContext(r.t.Context(), "write"); err != nil {
			r.t.Fatal(err)
		}
		conns[i] = c
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// take is a connection with its link.
func (r *rig) take() (*sql.Conn, *link) {
	r.t.Helper()
	c, err := r.db.Conn(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := linkOf(c)
	if err != nil || l == nil {
		r.t.Fatal(fmt.Errorf("link %v: %w", l, err))
	}
	return c, l
}
