// Generator makes exams of invented people at a rate or as fast as the host takes them, for demonstration and load.
//
//	[ generator ] ==gRPC==> host
package main

import (
	"context"
	"errors"
	"flag"
	"io"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// simulated is how many records it has for the conformance suite.
const simulated = 2500

func main() {
	serve.Device(&generator{}, sdk.Manifest{
		Name:       "generator",
		Version:    "1.0.0",
		Speaks:     "nothing: it makes exams of invented people",
		Identity:   "name of the device, seed and running number",
		LossWindow: "none: what was not acknowledged is made again, byte for byte",
		Window:     8,
	}, serve.Simulate(simulate))
}

// simulate is `generator simulate`: it is its own instrument, so there is one for the conformance suite alone.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("generator simulate", flag.ContinueOnError)
	suite := flags.Bool("conformance", false, "be the instrument of the conformance suite")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if !*suite {
		return serve.Usage(errors.New("the generator needs no instrument: name it in the configuration; --conformance is for the suite"))
	}
	return sim.Conformance(ctx, in, out, sim.Instrument{Settings: map[string]any{"count": simulated, "size": 1024}, Records: simulated})
}
