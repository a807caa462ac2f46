package tdstest

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrCanceled is what waiting in a script returns when the client sent an attention or the connection is gone.
var ErrCanceled = errors.New("canceled by the client")

// errCut ends a session whose connection was cut, or is to be.
var errCut = errors.New("the connection is cut")

// Session is a connection. A Script may call all its methods; the test's goroutines ID, User, App, Database, Freeze,
// Thaw, Cut and Abort.
type Session struct {
	srv *Server
	id  int
	raw net.Conn
	// Set in the login, and read by others only after it.
	user, database, app string
	conn                net.Conn // raw behind the gate, or TLS upon that

	// Of the goroutine that serves.
	size      int // of a packet
	depth     int // BEGIN TRANSACTIONs that are open
	tran      uint64
	xactAbort bool
	values    map[string]any
	tables    []*Tables // with changes of this transaction
	changes   []byte    // ENVCHANGE tokens that are due with the next answer
	load      string    // INSERT BULK, while its rows are due

	mu       sync.Mutex
	busy     bool          // a request is being answered
	attended bool          // and the client sent an attention to it
	canceled chan struct{} // of the request; closed by attention and cut
	thawed   chan struct{} // nil unless frozen
	gone     chan struct{} // closed by cut
}

func newSession(srv *Server, raw net.Conn) *Session {
	s := &Session{srv: srv, raw: raw, size: packetSize, canceled: make(chan struct{}), gone: make(chan struct{})}
	s.conn = gated{raw, s}
	srv.lastID++
	s.id = srv.lastID
	if srv.frozen {
		s.Freeze()
	}
	s.forget()
	return s
}

// ID is the number of the connection: the first that the server accepted is 1.
func (s *Session) ID() int { return s.id }

// User is the name of the login.
func (s *Session) User() string { return s.user }

// App is the name of the program that the client gave.
func (s *Session) App() string { return s.app }

// Database is that of the login.
func (s *Session) Database() string { return s.database }

// Values is for the script to keep what belongs to the session, such as its #temp tables. A reset empties it.
func (s *Session) Values() map[string]any { return s.values }

// XactAbort does what SET XACT_ABORT does: an error or attention then undoes the transaction. A reset turns it off.
func (s *Session) XactAbort(on bool) { s.xactAbort = on }

// InTransaction says whether a transaction is open.
func (s *Session) InTransaction() bool { return s.depth > 0 }

// Begin does what BEGIN TRANSACTION does; they nest.
func (s *Session) Begin() {
	if s.depth++; s.depth > 1 {
		return
	}
	s.srv.count(func(c *Counts) { c.Begun++; s.tran = uint64(c.Begun) })
	s.changes = env(s.changes, envBegin, descriptor(s.tran), []byte{0})
}

// Commit does what COMMIT TRANSACTION does; without a transaction it returns error 3902.
func (s *Session) Commit() error {
	switch {
	case s.depth == 0:
		return SQLError(3902)
	case s.depth > 1:
		s.depth--
		return nil
	}
	for _, t := range s.tables {
		t.commit(s)
	}
	s.over(envCommit)
	s.srv.count(func(c *Counts) { c.Committed++ })
	return nil
}

// Rollback does what ROLLBACK TRANSACTION does; without a transaction it returns error 3903.
func (s *Session) Rollback() error {
	if s.depth == 0 {
		return SQLError(3903)
	}
	for _, t := range s.tables {
		t.rollback(s)
	}
	s.over(envRollback)
	s.srv.count(func(c *Counts) { c.Undone++ })
	return nil
}

func (s *Session) over(change byte) {
	s.changes = env(s.changes, change, []byte{0}, descriptor(s.tran))
	s.depth, s.tran, s.tables = 0, 0, nil
}

// Atomic runs a part of a script as a batch under XACT_ABORT runs between BEGIN and COMMIT TRANSACTION: it is committed,
// or an error of fn undoes the whole transaction and is returned.
func (s *Session) Atomic(fn func() error) error {
	s.Begin()
	if err := fn(); err != nil {
		if s.InTransaction() {
			return errors.Join(err, s.Rollback())
		}
		return err
	}
	return s.Commit()
}

// Canceled returns a channel that is closed when the client sends an attention, or the connection is cut.
func (s *Session) Canceled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.canceled
}

// Wait is WAITFOR DELAY: it returns ErrCanceled if the request was canceled.
func (s *Session) Wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.Canceled():
		return ErrCanceled
	}
}

// serve is the life of a connection: login, then one request after the other.
func (s *Session) serve(ctx context.Context) {
	s.srv.count(func(c *Counts) { c.Open++; c.Ever++ })
	defer s.end()
	if s.open(ctx) != nil {
		return // the client knows, or nobody is there
	}
	in := make(chan message)
	s.srv.tasks.Go(func() {
		defer close(in)
		s.read(in)
		s.cut(politely)
	})
	for m := range in {
		if s.handle(m) != nil {
			break
		}
	}
}

func (s *Session) end() {
	s.cut(politely)
	if s.InTransaction() {
		s.Rollback() //nolint:errcheck // there is a transaction
	}
	s.srv.mu.Lock()
	delete(s.srv.live, s)
	s.srv.mu.Unlock()
	s.srv.count(func(c *Counts) { c.Open-- })
}

// handle answers one message; an error ends the session.
func (s *Session) handle(m message) error {
	if m.kind == msgAttention { // nothing was being answered: it gets an answer of its own, section 2.2.1.7
		a := s.answer(nil)
		a.done(ending{kind: tokenDone, status: doneAttention})
		return a.end()
	}
	r, err := parse(m)
	if err == nil && r.Kind == Bulk && s.load == "" {
		err = errors.New("read request: a bulk load that nothing announced")
	}
	if err != nil {
		s.srv.count(func(c *Counts) { c.Broken++ })
		return err
	}
	r.Session = s.id
	if r.Kind == Bulk {
		r.Text = s.load
	}
	s.load = ""
	s.reset(r)
	s.srv.saw(r)
	reply, err := s.apply(r)
	if err != nil {
		return err
	}
	a := s.answer(s.changes)
	a.fault, s.changes = s.srv.fault(Answer, r), nil
	return a.reply(reply, r.Kind == RPC && !reply.poison)
}

// reset does what the reset bits of a request ask for, section 2.2.3.1.2.
func (s *Session) reset(r Request) {
	if !r.Reset {
		return
	}
	if s.InTransaction() && r.status&statusResetKeep == 0 {
		s.Rollback() //nolint:errcheck // there is a transaction
	}
	s.forget()
	s.changes = env(s.changes, envReset, []byte{0}, []byte{0})
}

func (s *Session) forget() {
	s.values, s.xactAbort = map[string]any{}, false
}

// apply does what a request says, unless a fault comes before it.
func (s *Session) apply(r Request) (Reply, error) {
	reply := Reply{}
	i := s.srv.fault(Received, r)
	switch {
	case i != nil && i.Do == Refuse:
		reply = Fail(i.Err)
		i.struck()
	case i != nil && i.Do == Poisoned:
		reply = Poison(i.Err)
		i.struck()
	default:
		if err := s.strike(i); err != nil {
			return reply, err
		}
		reply = s.run(r)
	}
	if s.InTransaction() && slices.ContainsFunc(reply.Results, s.undoes) {
		s.Rollback() //nolint:errcheck // there is a transaction
	}
	return reply, nil
}

// undoes says whether a result has an error that ends the transaction.
func (s *Session) undoes(r Result) bool {
	return slices.ContainsFunc(r.Errors, func(e Error) bool {
		return e.Number == 1205 || e.Number == 3960 || s.xactAbort && e.Class > 10
	})
}

// run answers a request, by itself or by the script.
func (s *Session) run(r Request) Reply {
	if !r.Reset && r.Kind != Bulk && r.descriptor != s.tran { // a bulk load has no headers
		return Fail(SQLError(3989))
	}
	switch what := statement(r); {
	case what == "BEGIN":
		s.Begin()
		return Reply{}
	case what == "COMMIT":
		return outcome(s.Commit())
	case what == "ROLLBACK":
		return outcome(s.Rollback())
	case what == "SET FMTONLY ON", what == "SET FMTONLY OFF":
		return Reply{}
	case r.Text == "select 1;": // the driver's ping
		return Rows(Columns("? int"), []any{1})
	case strings.HasPrefix(what, "INSERT BULK "):
		s.load = r.Text
		return Reply{}
	}
	reply := s.srv.cfg.Script(s, r)
	if r.Kind == Bulk && len(reply.Results) == 0 {
		return Affected(int64(len(r.Rows)))
	}
	return reply
}

func outcome(err error) Reply {
	if err != nil {
		return Fail(err)
	}
	return Reply{}
}

// statement gives what a request is in capitals: BEGIN, COMMIT or ROLLBACK where it is that alone, else its text.
func statement(r Request) string {
	switch r.Kind {
	case Begin:
		return "BEGIN"
	case Commit:
		return "COMMIT"
	case Rollback:
		return "ROLLBACK"
	case Batch:
		what := strings.ToUpper(strings.TrimRight(strings.Join(strings.Fields(r.Text), " "), "; "))
		return strings.TrimSuffix(strings.TrimSuffix(what, "SACTION"), " TRAN")
	default:
		return ""
	}
}

func descriptor(tran uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{8}, tran) }
