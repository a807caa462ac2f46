package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hostd/hostd/core/sdk/line"
)

const (
	handshakeTime = 10 * time.Second
	writeTime     = 10 * time.Second       // for a peer to take its answers
	closeTime     = 500 * time.Millisecond // the same, when the device is closed
)

// errGone is why the line of connect is gone where nothing went wrong.
var errGone = errors.New("the sender has closed the connection")

// listen opens the port, and takes who calls.
func (s *session) listen(ctx context.Context, config *tls.Config) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.d.Listen)
	if err != nil {
		return err
	}
	s.at = ln.Addr()
	s.env.Go(func(ctx context.Context) error {
		<-ctx.Done()
		s.hangUp()
		return ln.Close()
	})
	s.env.Go(func(ctx context.Context) error {
		for {
			conn, err := ln.Accept()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("accept: %w", err)
			}
			s.admit(conn, config)
		}
	})
	return nil
}

// admit takes a connection, or closes it at once.
func (s *session) admit(conn net.Conn, config *tls.Config) {
	peer := line.Peer(conn)
	if refusal := s.gate.Enter(peer); refusal != "" {
		s.notices.warn(refusal, "peer", peer.String())
		_ = conn.Close() // nothing was said on it
		return
	}
	s.env.Go(func(ctx context.Context) error {
		defer s.gate.Leave(peer)
		if config != nil {
			conn = tls.Server(conn, config)
		}
		if err := s.converse(ctx, conn, peer); err != nil && ctx.Err() == nil {
			s.env.Log.Debug("a connection has ended", "peer", peer.String(), "err", err)
		}
		return nil // one peer of many is no failure of the device
	})
}

// call connects to a sender that listens. When the line has gone Read says so, and the host opens the device again after
// its growing pause.
func (s *session) call(ctx context.Context, config *tls.Config) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.d.Server)
	if err != nil {
		return err
	}
	peer := line.Peer(conn)
	if config != nil {
		conn = tls.Client(conn, config)
	}
	s.env.Go(func(ctx context.Context) error {
		<-ctx.Done()
		s.hangUp()
		return nil
	})
	s.env.Go(func(ctx context.Context) error {
		err := s.converse(ctx, conn, peer)
		if err == nil {
			err = errGone
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost = err
		s.wake()
		return nil
	})
	return nil
}

// converse talks with a peer until it or the session ends. It closes the connection. An error is why it could not go on.
func (s *session) converse(ctx context.Context, conn net.Conn, peer netip.Addr) error {
	if !s.enter(conn) {
		return conn.Close()
	}
	defer s.leave(conn)
	if t, ok := conn.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(ctx, handshakeTime)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			s.notices.warn("a TLS handshake has failed", "peer", peer.String(), "err", err)
			return errors.Join(err, conn.Close())
		}
	}
	rw := s.env.Wire("mllp", conn)
	c := &conversation{s: s, conn: conn, rw: rw, peer: peer}
	c.scanner.Max = s.d.MaxMessageKB << 10
	err := c.run(ctx)
	s.budget.give(c.charged)
	return errors.Join(err, rw.Close())
}

// enter makes the connection known to hangUp; false where it is too late.
func (s *session) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conns[conn] = struct{}{}
	}
	return !s.closed
}

func (s *session) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// hangUp ends every read, and bounds every write. A connection whose verdict has come still answers.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // a connection that is gone needs none
		_ = conn.SetWriteDeadline(time.Now().Add(closeTime))
	}
}

// readBy sets the end of the next reads; zero is none.
func (s *session) readBy(conn net.Conn, end time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil // hangUp has set it
	}
	return conn.SetReadDeadline(end)
}

// writeSoon bounds the next write.
func (s *session) writeSoon(conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return conn.SetWriteDeadline(time.Now().Add(writeTime))
}
