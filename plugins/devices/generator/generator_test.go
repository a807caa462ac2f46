package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

func open(t testing.TB, settings string, from sdk.Position) *generator {
	t.Helper()
	g := &generator{}
	if err := g.Open(t.Context(), sdk.Env{Name: "demo", Settings: sdk.NewSettings([]byte(settings))}, from); err != nil {
		t.Fatal(err)
	}
	return g
}

func read(t testing.TB, g *generator) sdk.Batch {
	t.Helper()
	b, err := g.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// line is a record as one comparable text.
func line(r *sdk.Record) string {
	return fmt.Sprintf("%s %s %s %s", r.ID, r.Kind, r.Time.Format(time.RFC3339), r.Data)
}

func TestRecords(t *testing.T) {
	for _, size := range []int{1, 400, 1024, 5000, 300_000} {
		g := open(t, fmt.Sprintf(`{"size":%d,"seed":7}`, size), "")
		b := read(t, g)
		for i := range b.Records {
			r := &b.Records[i]
			if want := fmt.Sprintf("demo-7-%d", i+1); r.ID != want || r.Kind != exam.Kind {
				t.Fatalf("record %d is %s %s, want %s", i, r.Kind, r.ID, want)
			}
			if size >= 400 && len(r.Data) != size {
				t.Fatalf("record of %d bytes, want %d", len(r.Data), size)
			}
			e, err := exam.Decode(r.Data)
			if err != nil {
				t.Fatalf("size %d: %v in %s", size, err, r.Data)
			}
			if e.TakenAt != r.Time.Format(time.RFC3339) || e.Patient.ID == "" || e.Patient.Name != strings.TrimSpace(e.Patient.Name) {
				t.Fatalf("head of %s at %s", r.Data, r.Time)
			}
		}
		if b.Next != sdk.Offset(int64(len(b.Records))) {
			t.Errorf("position %s after %d records", b.Next, len(b.Records))
		}
	}
}

func TestValuesAreFilledIn(t *testing.T) {
	g := open(t, `{}`, "")
	patients := map[string]bool{}
	for range 10 {
		b := read(t, g)
		for i := range b.Records {
			e, err := exam.Decode(b.Records[i].Data)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Observations) != 9 {
				t.Fatalf("%d observations, want 9", len(e.Observations))
			}
			patients[e.Patient.ID] = true
			for _, o := range e.Observations {
				v, _ := o.Value.Float()
				if v == markSphere || v == markCylinder || v == markAxis || v == markIOP {
					t.Fatalf("record %d keeps the mark of %s", i, o.Code)
				}
			}
		}
	}
	if len(patients) < 1000 {
		t.Errorf("%d patients in some 2,000 records", len(patients))
	}
}

// TestAgain holds that a record which was not acknowledged is made again, byte for byte, also across batch borders.
func TestAgain(t *testing.T) {
	first := map[string]string{}
	g := open(t, `{"seed":3}`, "")
	for range 4 {
		b := read(t, g)
		for i := range b.Records {
			first[b.Records[i].ID] = line(&b.Records[i])
		}
	}
	g = open(t, `{"seed":3}`, "100")
	for n := 101; n <= len(first); {
		b := read(t, g)
		for i := range b.Records {
			r := &b.Records[i]
			if want, ok := first[r.ID]; ok && line(r) != want {
				t.Fatalf("made again: %s\nfirst:      %s", line(r), want)
			}
			if want := fmt.Sprintf("demo-3-%d", n); r.ID != want {
				t.Fatalf("record %s, want %s", r.ID, want)
			}
			n++
		}
	}
	other := open(t, `{"seed":4}`, "")
	if b := read(t, other); first["demo-3-1"][20:] == line(&b.Records[0])[20:] {
		t.Error("another seed makes the same record")
	}
}

func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := open(t, `{"count":1000}`, "990")
		b := read(t, g)
		if len(b.Records) != 10 || b.Records[9].ID != "demo-1-1000" {
			t.Fatalf("%d records", len(b.Records))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		from := time.Now()
		if _, err := g.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(from) != time.Hour {
			t.Errorf("after the last record: %v after %v", err, time.Since(from))
		}
	})
}

func TestRate(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 250, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			g := open(t, fmt.Sprintf(`{"rate":%g}`, rate), "")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			n := 0
			for {
				b, err := g.Read(ctx)
				if err != nil {
					break
				}
				n += len(b.Records)
			}
			if want := rate * 20; float64(n) < want*0.999-1 || float64(n) > want {
				t.Errorf("%d records in 20 s at %g/s", n, rate)
			}
		})
	}
}

// TestArrears holds that a host that came back after an hour gets one second's records at once, and not an hour's.
func TestArrears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := open(t, `{"rate":10}`, "")
		time.Sleep(time.Hour)
		if b := read(t, g); len(b.Records) != 10 {
			t.Errorf("%d records at once", len(b.Records))
		}
		from := time.Now()
		if b := read(t, g); len(b.Records) != 1 || time.Since(from).Round(time.Millisecond) != 100*time.Millisecond {
			t.Errorf("%d records after %v", len(b.Records), time.Since(from))
		}
	})
}

func TestOpenRefusesForeignPosition(t *testing.T) {
	g := &generator{}
	for _, p := range []sdk.Position{"x", "-1"} {
		if err := g.Open(t.Context(), sdk.Env{Name: "demo"}, p); err == nil {
			t.Errorf("position %q was taken", p)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	g := open(b, `{}`, "")
	b.ReportAllocs()
	n := 0
	for n < b.N {
		batch, err := g.Read(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n += len(batch.Records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rec/s")
}
