package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// Listener waits for drivers that dial their instrument.
type Listener struct{ ln *net.TCPListener }

// Listen opens a TCP port for a driver that dials; "127.0.0.1:0" is a free one.
func Listen(addr string) (*Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ln, err := net.ListenTCP("tcp", a)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Listener{ln: ln}, nil
}

// Addr is where a driver dials.
func (l *Listener) Addr() string { return l.ln.Addr().String() }

// Accept waits for the next driver that dials, until ctx ends.
func (l *Listener) Accept(ctx context.Context) (Conn, error) {
	if err := l.ln.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	g := life.NewGroup(ctx)
	g.Go("end of accept", func(ctx context.Context) error {
		<-ctx.Done()
		return l.ln.SetDeadline(time.Unix(1, 0))
	})
	conn, err := l.ln.Accept()
	g.Cancel()
	err = errors.Join(err, g.Wait())
	if err == nil && ctx.Err() == nil {
		return conn, nil
	}
	if conn != nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("accept: %w", err)
}

// Close shuts the port. Lines that were accepted stay open.
func (l *Listener) Close() error { return l.ln.Close() }

// redial is how long Dial waits before it tries again.
const redial = 100 * time.Millisecond

// Dial calls a driver that listens, again and again until it listens or ctx ends: which of the two starts first does not
// matter.
func Dial(ctx context.Context, addr string) (Conn, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(redial):
		}
	}
}
