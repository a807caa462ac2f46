// Witness is an instrument that keeps a journal of what it was told is safe, and never makes a record again that was. If
// the host forgets such a record nobody makes it anew, so the record is missing for good, and the journal proves it.
//
//	[ witness ] ==gRPC==> host => spool: fsync ==ack==> [ witness ] -> journal
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

const (
	batchBytes = 200 << 10 // of a batch's records, about
	tailBytes  = 64        // of the journal that are read for its last line
)

// witness is the device. Record n is the same whenever it is made.
type witness struct {
	Journal string  `setting:"journal,required" help:"file to which a line is appended for each acknowledgement: the number of the last record that is safe"`
	Rate    float64 `setting:"rate" default:"100" min:"0" help:"records per second; 0 is as fast as the host takes them"`
	Size    int     `setting:"size" default:"500" unit:"bytes" min:"100" max:"100000" help:"payload of a record"`
	Last    int64   `setting:"last" default:"0" min:"0" help:"number of the last record; 0 is endless"`
	Large   int64   `setting:"large" default:"0" min:"0" help:"each n-th record is larger than a message, and travels as an attachment; 0 is none"`
	Times   string  `setting:"times" help:"file to which a line is appended for each record that is safe: when, in nanoseconds since 1970, and how many nanoseconds after it was due; empty is none, as is no rate"`

	name    string
	journal *os.File // each line is one write, which the end of this process cannot tear
	times   *os.File // nil without Times
	made    int64    // number of the newest record made
	since   time.Time
	counted int64 // records made since then

	mu   sync.Mutex
	open []openBatch // guarded by mu: what is not safe yet, oldest first; empty without Times
}

// openBatch is a batch on its way: the number of its last record, and when each was due.
type openBatch struct {
	last int64
	due  []time.Time
}

// Open goes on behind the last record that was acknowledged, by the journal. A host whose position is before it has
// forgotten a record, which the journal says too.
func (w *witness) Open(_ context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(w); err != nil {
		return err
	}
	position, err := from.Offset()
	if err != nil {
		return fmt.Errorf("open witness: %w", err)
	}
	w.journal, err = os.OpenFile(w.Journal, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open witness: %w", err)
	}
	told, err := lastLine(w.journal)
	if err != nil {
		return fmt.Errorf("open witness: %w", err)
	}
	if position < told {
		if _, err := fmt.Fprintf(w.journal, "forgotten %d\n%d\n", position, told); err != nil {
			return fmt.Errorf("open witness: %w", err)
		}
	}
	if w.Times != "" && w.Rate > 0 {
		if w.times, err = os.OpenFile(w.Times, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("open witness: %w", err)
		}
	}
	w.name, w.made, w.since, w.counted, w.open = env.Name, told, time.Now(), 0, nil
	return nil
}

// lastLine is the number in the journal's last line; 0 of an empty one.
func lastLine(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return 0, err
	}
	tail := make([]byte, min(end, tailBytes))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSuffix(string(tail), "\n"), "\n")
	return strconv.ParseInt(lines[len(lines)-1], 10, 64)
}

// Read makes the records that are due.
func (w *witness) Read(ctx context.Context) (sdk.Batch, error) {
	n, err := w.await(ctx)
	if err != nil {
		return sdk.Batch{}, err
	}
	b := sdk.Batch{Records: make([]sdk.Record, 0, n)}
	var due []time.Time
	for range n {
		w.made++
		w.counted++
		if w.times != nil {
			due = append(due, w.since.Add(time.Duration(float64(w.counted)/w.Rate*float64(time.Second))))
		}
		data := payload(w.name, w.made, w.Size)
		if w.Large > 0 && w.made%w.Large == 0 {
			data = payload(w.name, w.made, sdk.MaxInline+w.Size)
		}
		b.Records = append(b.Records, sdk.Record{ID: fmt.Sprintf("%s-%d", w.name, w.made), Kind: "witness", ContentType: "text/plain", Data: data})
		if w.Large > 0 && w.made%w.Large == 0 {
			break
		}
	}
	b.Next = sdk.Offset(w.made)
	if w.times != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open = append(w.open, openBatch{w.made, due})
	}
	return b, nil
}

// payload is the number, the SHA-256 of a text, and the text, of size bytes in all.
func payload(name string, n int64, size int) []byte {
	text := bytes.Repeat(fmt.Appendf(nil, "%s record %d. ", name, n), size/10+1)[:size-80]
	sum := sha256.Sum256(text)
	return fmt.Appendf(nil, "%d|%s|%s", n, hex.EncodeToString(sum[:]), text)
}

func (w *witness) await(ctx context.Context) (int64, error) {
	most := max(1, int64(batchBytes/(w.Size+150)))
	if w.Last > 0 {
		most = min(most, w.Last-w.made)
	}
	if most <= 0 {
		<-ctx.Done()
	}
	for ctx.Err() == nil {
		if w.Rate <= 0 {
			return most, nil
		}
		if due := int64(time.Since(w.since).Seconds()*w.Rate) - w.counted; due > 0 {
			return min(due, most), nil
		}
		t := time.NewTimer(max(time.Millisecond, time.Duration(float64(time.Second)/w.Rate/2)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	return 0, ctx.Err()
}

// Ack notes in the journal that everything up to the position is safe, as an instrument that clears its memory would.
func (w *witness) Ack(_ context.Context, upTo sdk.Position) error {
	n, err := upTo.Offset()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w.journal, "%d\n", n); err != nil {
		return err
	}
	return w.took(n)
}

// took notes how long after they were due the records up to n are safe.
func (w *witness) took(n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []byte
	for len(w.open) > 0 && w.open[0].last <= n {
		now := time.Now()
		for _, due := range w.open[0].due {
			lines = fmt.Appendf(lines, "%d %d\n", now.UnixNano(), now.Sub(due))
		}
		w.open = w.open[1:]
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := w.times.Write(lines)
	return err
}

// Close lets the files go.
func (w *witness) Close(context.Context) error {
	var errs []error
	for _, f := range []*os.File{w.journal, w.times} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	w.journal, w.times = nil, nil
	return errors.Join(errs...)
}

func main() {
	serve.Device(&witness{}, sdk.Manifest{
		Name:       "witness",
		Version:    "1.0.0",
		Speaks:     "nothing: it makes numbered records and remembers what it was told",
		Identity:   "name of the device and running number",
		LossWindow: "none: what was not acknowledged is made again, byte for byte",
		Window:     8,
	})
}
