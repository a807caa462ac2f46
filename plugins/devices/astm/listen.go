package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hostd/hostd/core/sdk/line"
)

// listens begins a port that instruments call.
const listens = "listen://"

// writeTime is how long an instrument may take to hear an answer.
const writeTime = 10 * time.Second

// listen takes the calls of instruments.
func (d *device) listen(ctx context.Context, address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("port %q: write %sADDRESS:PORT, or %s:PORT for every address of this computer", d.Port, listens, listens)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w: another program may have this port", err)
	}
	d.env.Go(func(ctx context.Context) error {
		<-ctx.Done()
		return ln.Close()
	})
	d.env.Go(func(ctx context.Context) error { return d.accept(ctx, ln) })
	return nil
}

// accept serves each instrument that calls, as many as may be connected at once.
func (d *device) accept(ctx context.Context, ln net.Listener) error {
	var told time.Time
	for {
		tcp, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		peer := line.Peer(tcp)
		if refusal := d.gate.Enter(peer); refusal != "" {
			if now := time.Now(); now.Sub(told) > time.Minute {
				told = now
				d.env.Log.Warn(refusal, "peer", peer.String())
			}
			tcp.Close()
			continue
		}
		d.env.Go(func(ctx context.Context) error {
			defer d.gate.Leave(peer)
			return d.call(ctx, tcp)
		})
	}
}

// call serves one instrument until its connection ends, which is no failure of the device.
func (d *device) call(ctx context.Context, tcp net.Conn) error {
	peer := tcp.RemoteAddr().String()
	wire := d.env.Wire("instrument", tcp)
	d.env.Log.Info("instrument connected", "peer", peer)
	ended := make(chan struct{})
	d.env.Go(func(ctx context.Context) error { // wakes the reader
		select {
		case <-ctx.Done():
		case <-ended:
		}
		return wire.Close()
	})
	c := d.serve(timed{tcp, wire}, func(context.Context) ([]byte, error) {
		b := make([]byte, 4<<10)
		n, err := wire.Read(b)
		return b[:n], err
	}, peer)
	defer close(ended)
	err := c.run(ctx)
	if ctx.Err() == nil {
		d.env.Log.Info("instrument disconnected", "peer", peer, "why", err)
	}
	return nil
}

// timed is a connection whose peer must take what is written in time.
type timed struct {
	conn net.Conn
	wire io.Writer
}

// Write sends b at once.
func (t timed) Write(b []byte) (int, error) {
	if err := t.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return t.wire.Write(b)
}
