package sim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sim"
)

func TestConformanceLines(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name, in, out string
		run           func(ctx context.Context, in io.Reader, out io.Writer) error
		want          error
		text          string
	}{
		{"device", "produce 2\nproduce 0\n", `{"settings":{"dir":"x"},"records":3}` + "\nok\nok\n", device(sim.Instrument{
			Settings: map[string]any{"dir": "x"}, Records: 3, Produce: func(int) error { return nil },
		}), nil, ""},
		{"device that produces nothing", "produce 2\n", `{"settings":{},"records":40}` + "\nno\n", device(sim.Instrument{Records: 40}), nil, ""},
		{"device that fails", "produce 2\n", `{"settings":{},"records":0}` + "\n", device(sim.Instrument{
			Produce: func(int) error { return broken },
		}), broken, `answer "produce 2": broken`},
		{"unknown word", "stored\nproduce many\nproduce -1\nlarge 0\n", `{"settings":{},"records":0}` + "\nno\nno\nno\nno\n", device(sim.Instrument{}), nil, ""},
		{"large record", "large 0\nlarge 7\n", `{"settings":{},"records":0}` + "\nok\n", device(sim.Instrument{
			Large: func(n int) error { return fmt.Errorf("%w at %d", broken, n) },
		}), broken, `answer "large 7": broken at 7`},
		{"sink", "stored\nbreak\nmend\n", `{"settings":{"dir":"x"},"idempotent":true}` + "\n[\"a\",\"a\"]\nok\nok\n", destination(sim.Destination{
			Settings: map[string]any{"dir": "x"}, Idempotent: true, Stored: func() ([]string, error) { return []string{"a", "a"}, nil },
			Break: func() error { return nil }, Mend: func() error { return nil },
		}), nil, ""},
		{"empty sink that does not break", "stored\nbreak\nmend\n", `{"settings":{},"idempotent":false}` + "\n[]\nno\nno\n", destination(sim.Destination{
			Stored: func() ([]string, error) { return nil, nil },
		}), nil, ""},
		{
			"sink of the host's database", "stored\n", `{"settings":{},"idempotent":true,"receipts":true,"bad":{"id":"b","kind":"k","data":"d","raw":"r","attachment":"00"}}` + "\nno\n",
			destination(sim.Destination{Idempotent: true, Receipts: true, Bad: &sdk.Record{
				ID: "b", Kind: "k", Data: []byte("d"), Raw: []byte("r"), Attachments: []sdk.Attachment{{Hash: "00"}},
			}}), nil, "",
		},
		{"sink that fails", "break\n", `{"settings":{},"idempotent":false}` + "\n", destination(sim.Destination{
			Break: func() error { return broken },
		}), broken, `answer "break": broken`},
		{"unknown word for a sink", "produce 1\n", `{"settings":{},"idempotent":false}` + "\nno\n", destination(sim.Destination{}), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := c.run(t.Context(), strings.NewReader(c.in), &out)
			if out.String() != c.out {
				t.Errorf("printed\n%s, want\n%s", out.String(), c.out)
			}
			if (c.text == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.text)) || (c.want != nil && !errors.Is(err, c.want)) {
				t.Error(err)
			}
		})
	}
}

func device(i sim.Instrument) func(context.Context, io.Reader, io.Writer) error {
	return func(ctx context.Context, in io.Reader, out io.Writer) error { return sim.Conformance(ctx, in, out, i) }
}

func destination(d sim.Destination) func(context.Context, io.Reader, io.Writer) error {
	return func(ctx context.Context, in io.Reader, out io.Writer) error {
		return sim.ConformanceSink(ctx, in, out, d)
	}
}

// TestConformanceEnds is of the three ends: of the lines, of the instrument, and of the context.
func TestConformanceEnds(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, in io.Closer, cancel func()) error
		want error
	}{
		{"the suite", func(ctx context.Context, in io.Closer, _ func()) error {
			in.Close()
			<-ctx.Done()
			return ctx.Err()
		}, nil},
		{"the instrument", func(context.Context, io.Closer, func()) error { return broken }, broken},
		{"a signal", func(ctx context.Context, _ io.Closer, cancel func()) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, suite := io.Pipe()
			defer suite.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := sim.Conformance(ctx, in, io.Discard, sim.Instrument{Run: func(ctx context.Context) error { return c.run(ctx, suite, cancel) }})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
