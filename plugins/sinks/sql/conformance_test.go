package main

import (
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	sdktest.RunSink(t, sdktest.Sink{
		Idempotent: true,
		Destination: func(testing.TB) sdktest.Destination {
			store := &sdktest.Store{}
			return sdktest.Destination{Store: store, Stored: func(testing.TB) []string { return store.IDs() }}
		},
		// Its identity is taken: the first record of the rule that asks for it is stored with other content.
		Bad: func() sdk.Record {
			return sdk.Record{ID: "exam-0", Kind: "exam", ContentType: "application/json", Data: []byte(`{}`), Raw: []byte("other content")}
		},
	})
}
