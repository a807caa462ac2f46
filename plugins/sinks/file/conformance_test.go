package main

import (
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	sdktest.RunSink(t, sdktest.Sink{
		Destination: func(t testing.TB) sdktest.Destination {
			dir := t.TempDir()
			return sdktest.Destination{
				Settings: map[string]any{"dir": dir},
				Stored:   func(t testing.TB) []string { return idsIn(t, dir) },
			}
		},
		Bad: func() sdk.Record { return *lost() },
	})
}

// idsIn gives the id of every line.
func idsIn(t testing.TB, dir string) []string {
	t.Helper()
	ids, err := storedIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
