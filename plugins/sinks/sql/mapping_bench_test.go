package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// ready is a Store that takes everything and knows every patient.
type ready struct{ taken }

var knows = sdk.Result{Columns: []string{"CHART_NO"}, Rows: [][]any{{int64(1007)}}, Cached: true}

// Query finds one row.
func (ready) Query(context.Context, sdk.Query) (sdk.Result, error) { return knows, nil }

// tenObservations are exams of ten observations: both eyes' refraction, the distance of the pupils, three pressures.
func tenObservations(b *testing.B, n int) []sdk.Record {
	batch := make([]sdk.Record, n)
	for i := range batch {
		batch[i] = person(b, fmt.Sprint("r", i), fmt.Sprint("P", i%40),
			found("sphere", "R", "autoref", 0, -1.25), found("cylinder", "R", "autoref", 0, -0.5), found("axis", "R", "autoref", 0, 180.0),
			found("sphere", "L", "autoref", 0, -1.5), found("cylinder", "L", "autoref", 0, -0.25), found("axis", "L", "autoref", 0, 5.0),
			found("pd", "B", "autoref", 0, 63.0), found("iop", "R", "tono", 0, 15.0), found("iop", "L", "tono", 0, 14.0), found("iop", "L", "tono", 1, 14.0))
	}
	return batch
}

// BenchmarkMapping is the sink's own work for a batch, without a database: with the tables that hostd makes, with the
// two tables of docs/mapping.md and their look-up, and with a table of one row for each observation.
func BenchmarkMapping(b *testing.B) {
	batch := tenObservations(b, 1000)
	page := page(b)
	for _, c := range []struct {
		name     string
		settings sdk.Settings
	}{
		{"shipped", sdk.NewSettings(nil)},
		{"page", exampleSettings(b, page)},
		{"observations", sdk.NewSettings(jsonOf(b, `
schema: mapped
tables:
  - name: FINDING
    rows: observation
    key: [SOURCE, EXAM, IDX]
    columns:
      {SOURCE: record.source, EXAM: record.original, IDX: observation.idx, PATIENT: patient.id, CODE: observation.code, EYE: observation.eye,
       METHOD: observation.method, SEQ: observation.seq, NUM: {from: observation.value, as: number, unfit: missing}, SENT: observation.text, UNIT: observation.unit}`))},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := &sink{}
			if err := s.Open(context.Background(), sdk.SinkEnv{Settings: c.settings, Store: ready{}}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(batch))/b.Elapsed().Seconds(), "exams/s")
		})
	}
	b.Run("decode", func(b *testing.B) { // what all of these have in common
		for b.Loop() {
			for i := range batch {
				if _, err := exam.Decode(batch[i].Data); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.N)*float64(len(batch))/b.Elapsed().Seconds(), "exams/s")
	})
}
