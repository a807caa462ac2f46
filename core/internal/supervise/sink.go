package supervise

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Sink is one sink's side of the host: how it is opened, and what delivers to it.
type Sink struct {
	Open  wire.OpenSink // BrokerID is filled at each open
	Store sdk.Store
	Cache sdk.Cache
	// Deliver works on the stream until ctx ends or the stream breaks. The stream lives on after ctx until Deliver
	// returns or calls hangUp. It calls settled after each batch that is.
	Deliver func(ctx context.Context, stream *wire.SinkRun, hangUp, settled func()) error
}

// Session opens the sink, delivers until something fails, and closes it. It is a Session of an Instance.
func (s *Sink) Session(ctx context.Context, proc *Process, up func()) error {
	if proc.Manifest.Role != sdk.RoleSink {
		return fmt.Errorf("plugin %s is a %s, not a sink", proc.Manifest.Name, proc.Manifest.Role)
	}
	if err := checkSettings(proc.Manifest.Settings, s.Open.Settings); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Open.StateDir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	open := s.Open
	open.BrokerID = proc.serveStore(s.Store, s.Cache)
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	err := proc.Conn.OpenSink(bounded, open)
	cancel()
	if err != nil {
		return fmt.Errorf("open: %w", overdue(err, openTimeout))
	}
	err = s.stream(ctx, proc, up)
	bounded, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return firstOf(err, overdue(proc.Conn.CloseSink(bounded), closeTimeout))
}

// Check asks the sink what it finds, in place of a Session. It makes nothing.
func (s *Sink) Check(ctx context.Context, proc *Process) ([]sdk.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	open := s.Open
	open.BrokerID = proc.serveStore(s.Store, s.Cache)
	return proc.Conn.CheckSink(ctx, open)
}

// checkTimeout is how long a sink may look at its tables.
const checkTimeout = 30 * time.Second

func (s *Sink) stream(ctx context.Context, proc *Process, up func()) error {
	alive, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	stream, err := proc.Conn.RunSink(alive)
	if err != nil {
		return err
	}
	up()
	return s.Deliver(ctx, stream, hangUp, func() { proc.worked.Store(true) })
}

// serveStore starts the process's own Store and Cache once; the plugin dials them at its first open and keeps the
// connection.
func (p *Process) serveStore(store sdk.Store, cache sdk.Cache) uint32 {
	if p.broker == 0 {
		id, run := p.Conn.ServeStore(store, cache)
		p.broker = id
		p.servers.Go("store server", func(context.Context) error { run(); return nil })
	}
	return p.broker
}
