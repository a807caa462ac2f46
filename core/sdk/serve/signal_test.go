package serve

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneSignalIsNotTwo holds that the signals are not given back while the first one may come once more.
func TestOneSignalIsNotTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		back := make(chan time.Time, 1)
		go giveBack(ctx, func() { back <- time.Now() })
		time.Sleep(time.Hour)
		cancel()
		if ended := time.Now(); (<-back).Sub(ended) != sameSignal {
			t.Error("at another time")
		}
	})
}
