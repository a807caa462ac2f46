package main

import (
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(testing.TB) sdktest.Instrument {
		return sdktest.Instrument{Settings: map[string]any{"count": 2500, "size": 1024}, Records: 2500}
	}})
}
