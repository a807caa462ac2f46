package main

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/hostd/hostd/core/sdk/sim"
)

// conformance is the instrument of the suite: a sender that calls the device on a port which was free a moment ago.
func conformance(ctx context.Context, in io.Reader, out io.Writer) error {
	i, err := suiteInstrument(ctx)
	if err != nil {
		return err
	}
	return sim.Conformance(ctx, in, out, i)
}

func suiteInstrument(ctx context.Context) (sim.Instrument, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return sim.Instrument{}, err
	}
	addr := ln.Addr().String()
	p := &plan{instrument: instrument{seed: 1, size: 1024}, more: make(chan struct{}, 1), ways: []string{""}, began: time.Now()}
	dial := func(ctx context.Context) (sim.Conn, error) { return sim.Dial(ctx, addr) }
	return sim.Instrument{
		Settings: map[string]any{"listen": addr},
		Produce:  func(n int) error { p.produce(n, 0); return nil },
		Large:    func(size int) error { p.produce(1, size); return nil },
		Run: func(ctx context.Context) error {
			return (&caller{plan: p, dial: dial, timeout: 30 * time.Second, longest: firstPause, seed: 1}).run(ctx)
		},
	}, ln.Close()
}
