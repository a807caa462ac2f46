package main

import (
	"context"
	"testing"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

// TestConformance holds the driver against the contract, with its own simulated analyser.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(t testing.TB) sdktest.Instrument {
		o := options{listen: "127.0.0.1:0", results: 2, timeout: astm.AnswerTime, seed: 1}
		b, err := newBench(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- b.run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-over
			b.a.place.close()
		})
		return sdktest.Instrument{
			Settings: b.settings(),
			Produce:  func(n int) { b.give(n, 0) },
			Large:    func(size int) { b.give(1, size) },
		}
	}})
}
