package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Instrument is what a device's `NAME simulate --conformance` gives the conformance suite: one fresh instrument.
type Instrument struct {
	// Settings with which the plugin finds it.
	Settings map[string]any
	// Records that it holds from the beginning.
	Records int
	// Produce makes it give n records more. Nil: it gives Records, and the suite asks for no others.
	Produce func(n int) error
	// Large makes it give one record more, of at least size bytes; nil where it cannot.
	Large func(size int) error
	// Run plays it until ctx ends; nil where nobody has to, as in a folder. What it returns before ends all.
	Run func(ctx context.Context) error
}

// Destination is what a sink's `NAME simulate --conformance` gives the conformance suite: one fresh and empty place.
type Destination struct {
	// Settings with which the plugin finds it.
	Settings map[string]any
	// Idempotent says that a record which is written again is not stored again.
	Idempotent bool
	// Receipts says that what the sink stores has receipts in the host's database, which the suite plays. Stored is nil then.
	Receipts bool
	// Stored gives the IDs of the records that it holds, one for each time that it holds the record.
	Stored func() ([]string, error)
	// Bad is a record that the sink refuses for good, of which ID, Kind, ContentType, Data and Raw (texts) and the Hash of one
	// attachment count; nil where it takes every record.
	Bad *sdk.Record
	// Break makes every write fail until Mend; both nil where that cannot be.
	Break, Mend func() error
	// Run plays it until ctx ends; nil where nobody has to.
	Run func(ctx context.Context) error
}

// Conformance offers the instrument to the suite: it prints its settings and records as one line of JSON on out, and then
// does what the lines of in ask for: "produce N" and "large N", answered with "ok", or with "no" where it cannot, as is what it
// does not know; "large 0" asks whether it can. It returns at the end of in, and nil then; or with the first failure, or when
// ctx ends, which may leave a read of in behind.
func Conformance(ctx context.Context, in io.Reader, out io.Writer, i Instrument) error {
	first := struct {
		Settings map[string]any `json:"settings"`
		Records  int            `json:"records"`
	}{settings(i.Settings), i.Records}
	return converse(ctx, in, out, first, i.Run, func(line string) (any, error) {
		what, count, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(count)
		switch {
		case err != nil || n < 0:
		case what == "produce" && i.Produce != nil:
			return yes, i.Produce(n)
		case what == "large" && i.Large != nil && n == 0:
			return yes, nil
		case what == "large" && i.Large != nil:
			return yes, i.Large(n)
		}
		return no, nil
	})
}

// bad is a Destination's Bad as the suite reads it.
type bad struct {
	ID          string `json:"id"`
	Kind        string `json:"kind"`
	ContentType string `json:"content_type,omitempty"`
	Data        string `json:"data,omitempty"`
	Raw         string `json:"raw,omitempty"`
	Attachment  string `json:"attachment,omitempty"`
}

func badOf(r *sdk.Record) *bad {
	if r == nil {
		return nil
	}
	b := &bad{ID: r.ID, Kind: r.Kind, ContentType: r.ContentType, Data: string(r.Data), Raw: string(r.Raw)}
	if len(r.Attachments) > 0 {
		b.Attachment = r.Attachments[0].Hash
	}
	return b
}

// ConformanceSink offers the destination to the suite as Conformance does: the line of JSON has the settings and what else
// it is; "stored" is answered with the list of IDs in JSON, "break" and "mend" with "ok" or "no".
func ConformanceSink(ctx context.Context, in io.Reader, out io.Writer, d Destination) error {
	first := struct {
		Settings   map[string]any `json:"settings"`
		Idempotent bool           `json:"idempotent"`
		Receipts   bool           `json:"receipts,omitempty"`
		Bad        *bad           `json:"bad,omitempty"`
	}{settings(d.Settings), d.Idempotent, d.Receipts, badOf(d.Bad)}
	able := func(f func() error) (any, error) {
		if f == nil {
			return no, nil
		}
		return yes, f()
	}
	return converse(ctx, in, out, first, d.Run, func(line string) (any, error) {
		switch {
		case line == "stored" && d.Stored != nil:
			ids, err := d.Stored()
			return append([]string{}, ids...), err
		case line == "break":
			return able(d.Break)
		case line == "mend":
			return able(d.Mend)
		}
		return no, nil
	})
}

// word is an answer that stands as it is.
type word string

const (
	yes word = "ok"
	no  word = "no"
)

func settings(m map[string]any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	return m
}

// converse prints the first line and answers each of in.
func converse(ctx context.Context, in io.Reader, out io.Writer, first any, run func(context.Context) error, answer func(line string) (any, error)) error {
	g, lines := life.NewGroup(ctx), life.NewGroup(ctx)
	if run != nil {
		g.Go("instrument", run)
	}
	over := make(chan error, 1)
	lines.Go("lines", func(context.Context) error {
		over <- converseLines(in, out, first, answer)
		return nil
	})
	var err error
	select {
	case err = <-over:
	case err = <-g.Failed():
	case <-ctx.Done():
	}
	g.Cancel()
	if end := g.Wait(); err == nil {
		err = end
	}
	return err
}

func converseLines(in io.Reader, out io.Writer, first any, answer func(line string) (any, error)) error {
	if err := printLine(out, first); err != nil {
		return err
	}
	scan := bufio.NewScanner(in)
	for scan.Scan() {
		said, err := answer(scan.Text())
		if err != nil {
			return fmt.Errorf("answer %q: %w", scan.Text(), err)
		}
		if err := printLine(out, said); err != nil {
			return err
		}
	}
	return scan.Err()
}

func printLine(out io.Writer, v any) error {
	if w, ok := v.(word); ok {
		_, err := fmt.Fprintln(out, string(w))
		return err
	}
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write line for the suite: %w", err)
	}
	_, err = fmt.Fprintln(out, string(line))
	return err
}
