// Probe is a device plugin that measures how long a record takes from the return of Read to its Ack. It makes one record
// after the other, waits for the answer, and writes the times to a file when all are acknowledged.
//
//	[ probe ] ==gRPC==> host => spool: fsync ==ack==> [ probe ] -> STATEDIR/latencies.txt
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

// listName is the file in the device's StateDir: one time a line, in nanoseconds, in the order of the records. It
// appears whole.
const listName = "latencies.txt"

// probe is the device.
type probe struct {
	Count int           `setting:"count" default:"500" min:"1" help:"how many records to make"`
	Size  int           `setting:"size" default:"1024" unit:"bytes" min:"1" max:"262144" help:"payload of a record"`
	Every time.Duration `setting:"every" default:"20ms" min:"0" help:"pause between an acknowledgement and the next record"`
	Delay time.Duration `setting:"delay" default:"2s" min:"0" help:"pause before the first record, in which the host comes to rest"`

	env   sdk.Env
	data  []byte
	pause time.Duration   // before the next record
	left  time.Time       // when Read returned
	times []time.Duration // of the records that are acknowledged
}

// Open refuses to go on in the middle: the times of the first part would be lost.
func (p *probe) Open(_ context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(p); err != nil {
		return err
	}
	if from != "" {
		return errors.New("open probe: a measurement is not continued; use an empty data_dir")
	}
	p.env, p.pause, p.times = env, p.Delay, make([]time.Duration, 0, p.Count)
	p.data = bytes.Repeat([]byte("measured "), p.Size/9+1)[:p.Size]
	return nil
}

// Read makes the next record when the pause is over. After the last one it waits for ctx.
func (p *probe) Read(ctx context.Context) (sdk.Batch, error) {
	n := len(p.times) + 1
	if n > p.Count {
		<-ctx.Done()
		return sdk.Batch{}, ctx.Err()
	}
	t := time.NewTimer(p.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return sdk.Batch{}, ctx.Err()
	case <-t.C:
	}
	r := sdk.Record{ID: p.env.Name + "-" + strconv.Itoa(n), Kind: "measurement", ContentType: "text/plain", Data: p.data}
	b := sdk.Batch{Records: []sdk.Record{r}, Next: sdk.Offset(int64(n))}
	p.left = time.Now()
	return b, nil
}

// Ack notes the time, and writes the list after the last record.
func (p *probe) Ack(context.Context, sdk.Position) error {
	p.times, p.pause = append(p.times, time.Since(p.left)), p.Every
	if len(p.times) < p.Count {
		return nil
	}
	var text []byte
	for _, d := range p.times {
		text = append(strconv.AppendInt(text, d.Nanoseconds(), 10), '\n')
	}
	path := filepath.Join(p.env.StateDir, listName)
	if err := os.WriteFile(path+".part", text, 0o600); err != nil {
		return fmt.Errorf("write times: %w", err)
	}
	return os.Rename(path+".part", path)
}

// Close lets nothing go: there is nothing.
func (p *probe) Close(context.Context) error { return nil }

func main() {
	serve.Device(&probe{}, sdk.Manifest{
		Name:       "probe",
		Version:    "1.0.0",
		Speaks:     "nothing: it measures the host's answer",
		Identity:   "name of the device and running number",
		LossWindow: "none: there is nothing to lose",
	})
}
