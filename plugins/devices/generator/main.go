// Generator makes exams of invented people at a rate or as fast as the host takes them, for demonstration and load.
//
//	[ generator ] ==gRPC==> host
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Device(&generator{}, sdk.Manifest{
		Name:       "generator",
		Version:    "1.0.0",
		Speaks:     "nothing: it makes exams of invented people",
		Identity:   "name of the device, seed and running number",
		LossWindow: "none: what was not acknowledged is made again, byte for byte",
		Window:     8,
	})
}
