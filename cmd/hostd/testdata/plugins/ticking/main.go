// Ticking is a device that needs no configuration and makes a numbered record twenty times a second. Its version and how it misbehaves are
// set when it is built.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

var (
	version   = "0.0.0"
	behaviour = "" // mute: ends before it says what it is; crash: ends at its first read
)

type ticking struct{ last int64 }

func (d *ticking) Open(_ context.Context, _ sdk.Env, from sdk.Position) (err error) {
	d.last, err = from.Offset()
	return err
}

func (d *ticking) Read(ctx context.Context) (b sdk.Batch, err error) {
	if behaviour == "crash" {
		os.Exit(3)
	}
	select {
	case <-ctx.Done():
		return b, ctx.Err()
	case <-time.After(50 * time.Millisecond):
	}
	d.last++
	r := sdk.Record{ID: fmt.Sprintf("tick-%d", d.last), Kind: "document", ContentType: "text/plain", Data: fmt.Appendf(nil, "tick %d", d.last)}
	return sdk.Batch{Records: []sdk.Record{r}, Next: sdk.Offset(d.last)}, nil
}

func (d *ticking) Ack(context.Context, sdk.Position) error { return nil }

func (d *ticking) Close(context.Context) error { return nil }

func main() {
	if behaviour == "mute" {
		os.Exit(5)
	}
	serve.Device(&ticking{}, sdk.Manifest{Name: "ticking", Version: version, Enroll: true, Identity: "a running number", LossWindow: "none: it counts on", Window: 1})
}
