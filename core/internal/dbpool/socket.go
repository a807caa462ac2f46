package dbpool

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

var errCut = errors.New("connection was cut")

// socket is a network connection as a driver has it: it counts what is sent, and tells its link when the other end is
// lost.
type socket struct {
	net.Conn
	link *link
	side bool // dialled after the login: a driver's request to cancel, which says nothing about the connection
}

// Read tells the link of an error.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		s.failed(err)
	}
	return n, err
}

// Write counts what the system took, which may be less than what arrives and is never less than what was sent.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if n > 0 && !s.side {
		s.link.sent.Add(int64(n))
	}
	if err != nil {
		s.failed(err)
	}
	return n, err
}

// Close is the driver's, which gives the connection up with it.
func (s *socket) Close() error {
	if !s.side {
		s.link.giveUp()
	}
	s.link.forget(s)
	return s.Conn.Close()
}

// failed tells the link. A deadline is the driver's own: it gives the connection up, and what follows is its goodbye.
func (s *socket) failed(err error) {
	switch {
	case s.side:
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.link.giveUp()
	default:
		s.link.broke(err)
	}
}

// linkKey finds in a context the link that is being made.
type linkKey struct{}

// adopt takes what a driver dialled by its own means, a named pipe for example, with a context that comes from its
// login. The driver must use what is returned.
func adopt(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if l, ok := ctx.Value(linkKey{}).(*link); ok {
		return l.add(nc)
	}
	return nc, nil
}

// dial is how the driver connects, at the login and later. After a cut there is nothing more to dial.
func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if l.severed() {
		return nil, errCut
	}
	nc, err := l.gen.all.opt.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return l.add(nc)
}

func (l *link) add(nc net.Conn) (net.Conn, error) {
	s := &socket{Conn: nc, link: l}
	if !l.keep(s) {
		return nil, errors.Join(errCut, nc.Close())
	}
	l.gen.all.enter(l)
	return s, nil
}

func (l *link) severed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cutOff
}

func (l *link) keep(s *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cutOff {
		return false
	}
	s.side = l.inner != nil
	l.dialled = true
	l.sockets[s] = struct{}{}
	l.gen.all.sockets.Add(1)
	return true
}

func (l *link) forget(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.sockets[s]; ok {
		delete(l.sockets, s)
		l.gen.all.sockets.Add(-1)
	}
}

// cut closes the link's sockets under its driver and lets it dial no more; a call that waits for the server ends with
// an error. It may be called at any time, by anybody, and does not wait.
func (l *link) cut() {
	for _, s := range l.sever() {
		l.forget(s)
		s.Conn.Close()
	}
}

func (l *link) sever() []*socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutOff = true
	l.gone.Store(unusable)
	open := make([]*socket, 0, len(l.sockets))
	for s := range l.sockets {
		open = append(open, s)
	}
	return open
}

// unusable is for link.gone.
const unusable = true

// giveUp marks the link as unusable, since its driver has given it up. In the login it may have gone on to the next address,
// or to one without encryption.
func (l *link) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		l.gone.Store(unusable)
	}
}

// broke marks the link as lost, unless it is known to be unusable, and tells its generation.
func (l *link) broke(cause error) {
	if l.lose() {
		l.tell(cause)
	}
}

// tell tells the generation of a loss, where it does not know since the link was last known to be good.
func (l *link) tell(cause error) {
	epoch := l.epoch.Load()
	if l.gen.epoch.CompareAndSwap(epoch, epoch+1) && l.gen.broken != nil {
		l.gen.broken(cause)
	}
}

// lose is false where the loss is no news: the link was given up, cut or closed by us, or is not logged in yet.
func (l *link) lose() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone.Load() || l.closing || l.inner == nil {
		return false
	}
	l.lost = true
	l.gone.Store(unusable)
	return true
}

// dead says that there is nobody to say goodbye to.
func (l *link) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cutOff || l.lost
}

// lingers says whether the driver has had its time to finish behind a closed link.
func (l *link) lingers() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing && !l.cutOff && time.Since(l.closed) > lingerTime
}

// tidy forgets a link that is closed and has no sockets.
func (l *link) tidy() {
	if l.spent() {
		l.gen.all.leave(l)
	}
}

func (l *link) spent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing && l.settled && len(l.sockets) == 0
}
