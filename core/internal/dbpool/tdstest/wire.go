package tdstest

import (
	"net"
)

// gated is a connection that Session.Freeze makes a black hole.
type gated struct {
	net.Conn

	s *Session
}

func (g gated) Read(p []byte) (int, error) {
	if err := g.s.gate(); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(p)
	if frozen := g.s.gate(); frozen != nil {
		return 0, frozen
	}
	return n, err
}

func (g gated) Write(p []byte) (int, error) {
	if err := g.s.gate(); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

// gate waits while the session is frozen, and returns errCut when it is cut.
func (s *Session) gate() error {
	for {
		s.mu.Lock()
		thawed := s.thawed
		s.mu.Unlock()
		if thawed == nil {
			return nil
		}
		select {
		case <-thawed:
		case <-s.gone:
			return errCut
		}
	}
}

// Freeze makes the connection a black hole: the socket is open, and nothing more is read or written.
func (s *Session) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.thawed == nil {
		s.thawed = make(chan struct{})
	}
}

// Thaw ends Freeze: what arrived meanwhile is served.
func (s *Session) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.thawed != nil {
		close(s.thawed)
		s.thawed = nil
	}
}

// Cut closes the socket. A transaction that is open is undone.
func (s *Session) Cut() { s.cut(politely) }

// Abort is Cut with an RST instead of a FIN.
func (s *Session) Abort() { s.cut(abruptly) }

type manner bool

const (
	politely manner = false
	abruptly manner = true
)

func (s *Session) cut(how manner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isGone() {
		return
	}
	if tcp, ok := s.raw.(*net.TCPConn); ok && how == abruptly {
		tcp.SetLinger(0) //nolint:errcheck // then it is a FIN after all
	}
	s.raw.Close()
	close(s.gone)
	if !s.attended {
		close(s.canceled)
	}
}

func (s *Session) isGone() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// read puts messages together and hands them over, until the connection ends. It goes on while a request is answered,
// because an attention comes in between.
func (s *Session) read(out chan<- message) {
	var m message
	for {
		kind, status, body, err := readPacket(s.conn)
		if err != nil {
			return
		}
		switch {
		case kind == msgAttention:
			m = message{} // what was not sent whole will never be
			if s.attention() && !s.deliver(out, message{kind: kind}) {
				return
			}
			continue
		case m.kind == 0:
			m = message{kind: kind, status: status}
		case m.kind != kind || len(m.body) > maxMessage:
			s.srv.count(func(c *Counts) { c.Broken++ })
			return
		}
		m.body = append(m.body, body...)
		if status&statusEnd == 0 {
			continue
		}
		if status&statusIgnore == 0 && !s.deliver(out, m) {
			return
		}
		m = message{}
	}
}

// attention cancels the request that is being answered, or returns true if there is none.
func (s *Session) attention() (idle bool) {
	s.srv.count(func(c *Counts) { c.Attentions++ })
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		return true
	}
	if !s.attended && !s.isGone() {
		s.attended = true
		close(s.canceled)
	}
	return false
}

// deliver hands a message to the goroutine that serves; false means that the session is over.
func (s *Session) deliver(out chan<- message, m message) bool {
	if m.kind != msgAttention && !s.begin() {
		return false
	}
	select {
	case out <- m:
		return true
	case <-s.gone:
		return false
	}
}

// begin marks that a request is being answered, from its arrival.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isGone() {
		return false
	}
	s.busy, s.attended, s.canceled = true, false, make(chan struct{})
	return true
}

// finish marks that it was answered but for the last token, and says whether that must confirm an attention.
func (s *Session) finish() (attended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	return s.attended
}
