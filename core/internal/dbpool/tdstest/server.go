package tdstest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Config says what the server is. The zero Config accepts the login of Server.DSN and answers everything with success.
type Config struct {
	User, Password string           // "" is hostd and "only-for-tests"
	Databases      []string         // that exist; the first is that of a login without one; none is "hostd" alone
	Certificate    *tls.Certificate // nil: the server does not encrypt, so that encrypt=true is refused by the driver
	Script         Script           // nil: success without rows
}

// Counts is what the server has seen since it was opened.
type Counts struct {
	Open, Ever               int // connections, those in login included
	Logins, Refused          int
	Requests                 int // attentions do not count
	Resets, Attentions       int
	Begun, Committed, Undone int // transactions; one that ends with its connection is undone
	BulkRows                 int
	Broken                   int // connections cut because what arrived was not TDS, such as an abandoned bulk load
}

// Server is a TDS server on the loopback address. Its methods may be called from any goroutine, but not by a Script or
// a Fault's When.
type Server struct {
	cfg   Config
	tasks sync.WaitGroup // the acceptor, and two goroutines per session

	mu      sync.Mutex // before a Session's mu
	ln      net.Listener
	addr    string
	counts  Counts
	changed chan struct{} // closed and replaced when counts change
	log     []Request
	live    map[*Session]bool // true: logged in
	faults  []*Injection
	refusal *Error
	frozen  bool
	lastID  int
	err     error
}

// Start opens a server for the length of a test, and fails the test if the script was at fault.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	srv, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Close()
		if err := srv.Err(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// Open listens on a free port of the loopback address. The end of ctx breaks off logins under way and nothing else.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.User == "" {
		cfg.User, cfg.Password = "hostd", "only-for-tests"
	}
	if len(cfg.Databases) == 0 {
		cfg.Databases = []string{"hostd"}
	}
	if cfg.Script == nil {
		cfg.Script = func(*Session, Request) Reply { return Reply{} }
	}
	srv := &Server{cfg: cfg, addr: "127.0.0.1:0", live: map[*Session]bool{}, changed: make(chan struct{})}
	return srv, srv.Listen(ctx)
}

// Listen takes connections again after Stop, on the same port.
func (srv *Server) Listen(ctx context.Context) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", srv.addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", srv.addr, err)
	}
	srv.ln, srv.addr = ln, ln.Addr().String()
	srv.tasks.Go(func() { srv.accept(ctx, ln) })
	return nil
}

func (srv *Server) accept(ctx context.Context, ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // Stop closed it
		}
		srv.mu.Lock()
		if srv.ln != ln { // Stop came between
			conn.Close()
		} else {
			s := newSession(srv, conn)
			srv.live[s] = false
			srv.tasks.Go(func() { s.serve(ctx) })
		}
		srv.mu.Unlock()
	}
}

// Stop closes the port and cuts every connection, as a server that is shut down.
func (srv *Server) Stop() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.ln != nil {
		srv.ln.Close()
		srv.ln = nil
	}
	for s := range srv.live {
		s.Cut()
	}
}

// Restart is Stop and Listen.
func (srv *Server) Restart(ctx context.Context) error {
	srv.Stop()
	return srv.Listen(ctx)
}

// Close is Stop, and waits until nothing of the server is left running; the script must have given up by then.
func (srv *Server) Close() {
	srv.Stop()
	srv.tasks.Wait()
}

// Freeze makes every connection a black hole, old or new: the socket is open, and nothing is read or written.
func (srv *Server) Freeze() { srv.freeze(true, (*Session).Freeze) }

// Thaw ends Freeze, that of single sessions too: what arrived meanwhile is served.
func (srv *Server) Thaw() { srv.freeze(false, (*Session).Thaw) }

func (srv *Server) freeze(frozen bool, each func(*Session)) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.frozen = frozen
	for s := range srv.live {
		each(s)
	}
}

// RefuseLogins answers every login with err, such as SQLError(18456), until it is called with nil.
func (srv *Server) RefuseLogins(err *Error) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.refusal = err
}

// Addr is where the server listens: host and port.
func (srv *Server) Addr() string {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.addr
}

// DSN is a connection string for driver "sqlserver" with the login of Config, encrypt=disable and disableretry=true,
// unless options, such as "encrypt=true", say otherwise. One without a value, "encrypt=", takes it out.
func (srv *Server) DSN(options ...string) string {
	query := url.Values{"database": {srv.cfg.Databases[0]}, "encrypt": {"disable"}, "disableretry": {"true"}}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		if query.Set(key, value); value == "" {
			query.Del(key)
		}
	}
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(srv.cfg.User, srv.cfg.Password), Host: srv.Addr(), RawQuery: query.Encode()}
	return u.String()
}

// Counts returns what was seen so far.
func (srv *Server) Counts() Counts {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.counts
}

// Wait returns when the counts are as wanted, or with the error of ctx, which says what they were.
func (srv *Server) Wait(ctx context.Context, wanted func(Counts) bool) error {
	for {
		srv.mu.Lock()
		counts, changed := srv.counts, srv.changed
		srv.mu.Unlock()
		if wanted(counts) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for counts, which are %+v: %w", counts, ctx.Err())
		}
	}
}

// Requests returns every request so far, oldest first, those that the server answered itself included.
func (srv *Server) Requests() []Request {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return slices.Clone(srv.log)
}

// Sessions returns those that are logged in, oldest first.
func (srv *Server) Sessions() []*Session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	var list []*Session
	for s, ready := range srv.live {
		if ready {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *Session) int { return a.id - b.id })
	return list
}

// Err returns what the script did wrong, such as a row that does not fit its columns.
func (srv *Server) Err() error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.err
}

// blame notes a fault of the script.
func (srv *Server) blame(err error) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.err = errors.Join(srv.err, err)
}

// count changes the counts.
func (srv *Server) count(change func(*Counts)) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	change(&srv.counts)
	close(srv.changed)
	srv.changed = make(chan struct{})
}

// saw notes a request.
func (srv *Server) saw(r Request) {
	srv.mu.Lock()
	srv.log = append(srv.log, r)
	srv.mu.Unlock()
	srv.count(func(c *Counts) {
		c.Requests++
		c.BulkRows += len(r.Rows)
		if r.Reset {
			c.Resets++
		}
	})
}
