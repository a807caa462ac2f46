package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	batchBytes = 250 << 10        // of a batch's records with all their fields, below sdk.MaxBatchSize
	fieldBytes = 112              // of a record's fields besides its ID and Data, at most
	minWait    = time.Millisecond // shortest wait for the next record: rates above 1,000/s come in groups
	maxArrears = time.Second      // what a host that was busy gets at once when it asks again
)

// generator is the device. Record n is the same for the same name, seed and size, however often it is made.
type generator struct {
	Count int     `setting:"count" default:"0" min:"0" help:"how many records to make; 0 is endless"`
	Rate  float64 `setting:"rate" default:"0" min:"0" help:"records per second; 0 is as fast as the host takes them"`
	Size  int     `setting:"size" default:"1024" unit:"bytes" min:"1" max:"1048576" help:"payload of a record; an exam cannot be smaller than about 300 bytes"`
	Seed  int     `setting:"seed" default:"1" help:"another seed makes other people, other values and other record ids"`

	last    int64 // number of the newest record made
	sheet   sheet
	prefix  string // of every ID
	slots   []byte // the sheets of one batch, filled in anew by each Read
	ids     []byte
	records []sdk.Record
	since   time.Time // when made was 0
	made    int64     // records since then
}

// Open goes on after the record that was acknowledged last.
func (g *generator) Open(_ context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(g); err != nil {
		return err
	}
	last, err := from.Offset()
	if err != nil || last < 0 {
		return fmt.Errorf("open generator: position is not a running number; `hostd devices reset %s` forgets it", env.Name)
	}
	if g.sheet, err = newSheet(g.Size); err != nil {
		return fmt.Errorf("open generator: %w", err)
	}
	g.last, g.prefix = last, env.Name+"-"+strconv.Itoa(g.Seed)+"-"
	g.since, g.made = time.Now(), 0
	size := len(g.sheet.text)
	n := min(max(1, batchBytes/(size+len(g.prefix)+20+fieldBytes)), sdk.MaxBatch)
	g.records, g.ids = make([]sdk.Record, n), nil
	g.slots = make([]byte, 0, n*size)
	for range n {
		g.slots = append(g.slots, g.sheet.text...)
	}
	return nil
}

// Read makes the next batch. Its records' Data are overwritten by the next Read; serve has encoded them by then.
func (g *generator) Read(ctx context.Context) (sdk.Batch, error) {
	n, err := g.await(ctx)
	if err != nil {
		return sdk.Batch{}, err
	}
	size := len(g.sheet.text)
	g.ids = g.ids[:0]
	for i := range n {
		g.ids = strconv.AppendInt(append(g.ids, g.prefix...), g.last+1+int64(i), 10)
	}
	ids, from := string(g.ids), 0
	for i := range n {
		g.last++
		to := from + len(g.prefix) + digits(g.last)
		data := g.slots[i*size : (i+1)*size : (i+1)*size]
		g.records[i] = sdk.Record{
			ID: ids[from:to], Kind: exam.Kind, ContentType: exam.ContentType,
			Time: g.sheet.fill(data, g.Seed, g.last), Data: data,
		}
		from = to
	}
	g.made += int64(n)
	return sdk.Batch{Records: g.records[:n], Next: sdk.Offset(g.last)}, nil
}

// await blocks until records are due, and says how many. When all are made it waits for ctx.
func (g *generator) await(ctx context.Context) (int, error) {
	most := int64(len(g.records))
	if g.Count > 0 {
		most = min(most, int64(g.Count)-g.last)
	}
	if most <= 0 {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil || g.Rate <= 0 {
		return int(most), err
	}
	for {
		due, wait := g.due(time.Now())
		if due > 0 {
			return int(min(due, most)), nil
		}
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// due says how many records the rate asks for at now, or how long until the next one.
func (g *generator) due(now time.Time) (n int64, wait time.Duration) {
	due := int64(now.Sub(g.since).Seconds()*g.Rate+1e-6) - g.made
	if arrears := int64(maxArrears.Seconds() * g.Rate); due > max(arrears, 1) {
		due = max(arrears, 1)
		g.since, g.made = now.Add(-time.Duration(float64(due)/g.Rate*float64(time.Second))), 0
	}
	if due > 0 {
		return due, 0
	}
	next := g.since.Add(time.Duration(float64(g.made+1) / g.Rate * float64(time.Second)))
	return 0, max(next.Sub(now), minWait)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func digits(n int64) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}

// Ack has nothing to tell: the position is all that is remembered.
func (g *generator) Ack(context.Context, sdk.Position) error { return nil }

// Close lets the batch's memory go.
func (g *generator) Close(context.Context) error {
	g.slots, g.records, g.ids = nil, nil, nil
	return nil
}
