// Recorder is a device that notes each Open in a file, and has a setting of each kind.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

type recorder struct {
	Note   string        `setting:"note,required" help:"file that notes each Open"`
	Gain   float64       `setting:"gain" default:"2" unit:"dB" min:"0.5" max:"40" help:"how loud it is"`
	Wait   time.Duration `setting:"wait" default:"30s" min:"1" max:"600" help:"how long it waits"`
	Eye    string        `setting:"eye" default:"both" enum:"both,left,right" help:"which eye it looks at"`
	Pin    string        `setting:"pin,secret" help:"what opens it"`
	Port   string        `setting:"port" help:"serial port"`
	Listen string        `setting:"listen" help:"where it listens"`
}

func (r *recorder) Open(_ context.Context, env sdk.Env, _ sdk.Position) error {
	if err := env.Settings.Decode(r); err != nil {
		return err
	}
	return os.WriteFile(r.Note, []byte(fmt.Sprintf("opened with a pin of %d characters\n", len(r.Pin))), 0o600)
}

func (r *recorder) Read(ctx context.Context) (sdk.Batch, error) {
	<-ctx.Done()
	return sdk.Batch{}, ctx.Err()
}

func (r *recorder) Ack(context.Context, sdk.Position) error { return nil }

func (r *recorder) Close(context.Context) error { return nil }

func main() {
	serve.Device(&recorder{}, sdk.Manifest{Name: "recorder", Version: "1.0.0", Identity: "none", LossWindow: "all"})
}
