// Line-serial reads instruments that speak text over a serial line, each by a profile that declares its protocol.
//
//	instrument -> line -> [ Framer -> profile -> record ] ==gRPC==> host; ack -> the instrument's answer
//
// The profile capture keeps what an unknown instrument says. docs/devices/line-serial.md is for clinics.
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Device(&device{}, sdk.Manifest{
		Name:    "line-serial",
		Version: "1.0.0",
		Speaks:  "text protocols of Huvitz, Tomey and Topcon instruments and those of profiles of your own, on a serial line; or whatever comes, as a capture",
		Identity: "SHA-256 of the frame where it has date and time; of any other frame, also its number among those that were stored: " +
			"two equal ones are one measurement only when they come within the profile's repeat (10s), or when the first was not answered",
		LossWindow: "none where the instrument waits for an answer and sends again; of any other, what it sends while hostd does not run, and a frame that has not reached hostd's disk when the process dies",
		Wire:       true,
	}, serve.Simulate(simulate))
}
