package tdstest

import (
	"slices"
	"sync"
)

// Point is a moment in the life of a connection or request.
type Point int

// Connect is before anything is read of a new connection; Handshake is when the prelogin was answered and TLS is due;
// Login is before a login is answered; Received is when a request has arrived and nothing of it was done; Answer is when
// its effect stands and Fault.Bytes of the answer have left.
const (
	Connect Point = iota + 1
	Handshake
	Login
	Received
	Answer
)

// Act is what a fault does.
type Act int

// Freeze stops reading and writing until Thaw, and the request then goes on. Cut closes the socket, Abort does so with
// RST. Under Refuse a request is not done but fails with Fault.Err, under Poisoned it gets the reply Poison.
const (
	Freeze Act = iota + 1
	Cut
	Abort
	Refuse
	Poisoned
)

// Fault is one thing that goes wrong.
type Fault struct {
	At    Point // of no meaning for Refuse and Poisoned, which stand for Received
	Do    Act
	Bytes int                // of the answer, packet headers included; one longer than the answer is when it has left whole
	Err   Error              // of Refuse and Poisoned
	When  func(Request) bool // nil: any. It must not call the Server; before Received only Request.Session is known
	Times int                // how often: 0 is once, below 0 always
}

// Injection is a Fault that waits for its moment.
type Injection struct {
	Fault

	srv  *Server
	hit  chan struct{}
	once sync.Once
}

// Inject adds a fault behind those that wait. Where several fit, the oldest is taken.
func (srv *Server) Inject(f Fault) *Injection {
	if f.Do == Refuse || f.Do == Poisoned {
		f.At = Received
	}
	f.Times = max(f.Times, -1)
	if f.Times == 0 {
		f.Times = 1
	}
	i := &Injection{Fault: f, srv: srv, hit: make(chan struct{})}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.faults = append(srv.faults, i)
	return i
}

// Hit returns a channel that is closed when the fault has struck for the first time.
func (i *Injection) Hit() <-chan struct{} { return i.hit }

// Remove takes the fault back; what is frozen stays so.
func (i *Injection) Remove() {
	i.srv.mu.Lock()
	defer i.srv.mu.Unlock()
	i.srv.faults = slices.DeleteFunc(i.srv.faults, func(f *Injection) bool { return f == i })
}

func (i *Injection) struck() { i.once.Do(func() { close(i.hit) }) }

// fault takes the one that is due at this point, if any.
func (srv *Server) fault(at Point, r Request) *Injection {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for n, i := range srv.faults {
		if i.At != at || i.When != nil && !i.When(r) {
			continue
		}
		if i.Times--; i.Times == 0 {
			srv.faults = slices.Delete(srv.faults, n, n+1)
		}
		i.Times = max(i.Times, -1)
		return i
	}
	return nil
}

// strike does what a fault says to this session, and returns errCut if that was the end of it.
func (s *Session) strike(i *Injection) error {
	if i == nil {
		return nil
	}
	defer i.struck()
	switch i.Do {
	case Freeze:
		s.Freeze()
		i.struck() // before the wait for Thaw
		return s.gate()
	case Abort:
		s.cut(abruptly)
	default:
		s.cut(politely)
	}
	return errCut
}
