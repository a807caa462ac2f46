package main

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
	"github.com/hostd/hostd/core/sdk/sim"
)

// TestConformance holds the driver on a serial line, where there are pseudo terminals, else on a serial server.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(t testing.TB) sdktest.Instrument {
		i, settings, at, err := suiteInstrument("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if line, err := sim.OpenPTY(); err == nil {
			at.Close()
			at, settings["port"] = &outlet{conn: line}, line.Path()
		} else if !errors.Is(err, sim.ErrNoPTY) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		orders, over := make(chan int, 1024), make(chan error, 1)
		go func() { over <- i.run(ctx, at, orders) }()
		t.Cleanup(func() {
			cancel()
			if err := <-over; !errors.Is(err, context.Canceled) && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			at.Close()
		})
		return sdktest.Instrument{Settings: settings, Produce: func(n int) { orders <- n }}
	}})
}
