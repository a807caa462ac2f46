package main

import (
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	sdktest.RunSink(t, sdktest.Sink{
		Destination: func(t testing.TB) sdktest.Destination {
			dir := t.TempDir()
			return sdktest.Destination{
				Settings: map[string]any{"dir": dir},
				Stored:   func(t testing.TB) []string { return idsIn(t, dir) },
			}
		},
		Bad: func() sdk.Record {
			lost := sdk.Attachment{Name: "image.jpg", Size: 1, Hash: strings.Repeat("0", 64)}
			return sdk.Record{ID: "bad-1", Kind: "document", Data: []byte("x"), Attachments: []sdk.Attachment{lost}}
		},
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
