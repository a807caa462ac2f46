package main

import (
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(t testing.TB) sdktest.Instrument {
		i, err := suiteInstrument(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- i.Run(t.Context()) }()
		t.Cleanup(func() { // its context has ended
			if err := <-ended; err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
		must := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		return sdktest.Instrument{
			Settings: i.Settings,
			Produce:  func(n int) { must(i.Produce(n)) },
			Large:    func(size int) { must(i.Large(size)) },
		}
	}})
}
