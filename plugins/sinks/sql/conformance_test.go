package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	binary := sdktest.Build(t, "")
	t.Run("exams", func(t *testing.T) {
		sdktest.RunSink(t, sdktest.Sink{
			Binary:     binary,
			Idempotent: true,
			Destination: func(testing.TB) sdktest.Destination {
				store := &sdktest.Store{}
				return sdktest.Destination{Store: store, Stored: func(testing.TB) []string { return store.IDs() }}
			},
			Bad: func() sdk.Record { return *conflicting() },
		})
	})
	t.Run("mapped", func(t *testing.T) {
		var settings map[string]any
		if err := json.Unmarshal(exampleSettings(t, page(t)).JSON(), &settings); err != nil {
			t.Fatal(err)
		}
		sdktest.RunSink(t, sdktest.Sink{
			Binary:     binary,
			Idempotent: true,
			Destination: func(t testing.TB) sdktest.Destination {
				store := &sdktest.Store{Answer: chart}
				return sdktest.Destination{Settings: settings, Store: store, Stored: func(t testing.TB) []string {
					for _, c := range store.Applied() {
						if u, ok := c.(sdk.Upsert); !ok || u.Table != "IOP" || len(u.Rows) != 1 || u.Rows[0]["CHART_NO"] != int64(1007) {
							t.Errorf("it wrote %+v", c)
						}
					}
					return store.IDs()
				}}
			},
			Bad: func() sdk.Record { // nobody knows the patient
				return sdk.Record{ID: "bad", Kind: exam.Kind, ContentType: exam.ContentType, Data: []byte(`{"patient":{"id":"nobody","name":"","birth":"","sex":""},"device":{"make":"","model":"","serial":""},"taken_at":"",` +
					`"observations":[{"code":"iop","eye":"R","value":15,"unit":"mmHg","method":"tono","seq":0}]}`), Raw: []byte("bad")}
			},
		})
	})
}

// chart answers with the number of a chart, where the patient is one of the suite's.
func chart(q sdk.Query) (sdk.Result, error) {
	res := sdk.Result{Columns: []string{"CHART_NO"}}
	if id, ok := q.Args[0].(string); ok && strings.HasPrefix(id, "P-") {
		res.Rows = [][]any{{int64(1007)}}
	}
	return res, nil
}
