package main

import (
	"context"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

// TestConformance holds docs/contract.md on the driver, with an ARK that sends again what was not answered.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(t testing.TB) sdktest.Instrument {
		i, port, produce, err := suiteInstrument()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- i.run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		return sdktest.Instrument{Settings: map[string]any{"port": port, "profile": "ark"}, Produce: produce}
	}})
}
