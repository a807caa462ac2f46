// Nidek-serial reads NIDEK's instruments on their serial lines, or over TCP on a serial server.
//
//	instrument -> [ line -> frames -> exams -> batch ] ==gRPC==> host; ack -> the instrument may send again
//
// An instrument of the AR, ARK, TONOREF, NT and LM family asks to send (RS), and sends when it is invited (SD). Nothing in the
// protocol answers the data; so the next invitation is the answer: it goes out only when everything that came before it is on
// the host's disk.
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Device(&nidek{}, sdk.Manifest{
		Name:    "nidek-serial",
		Version: "1.0.0",
		Speaks: "NIDEK RS-232: AR, ARK, TONOREF, NT and LM units with handshake (RS, SD) or without, RT refractors. " +
			"All profiles are simulated: no capture of a real unit has gone through this parser yet",
		Identity:   "SHA-256 of the frame, where it has a running number or a time; else with the number of frames that were stored before it",
		LossWindow: "a frame that the instrument sends while nobody listens, or that was not whole when the driver was killed: the protocol has no answer to data. With the handshake the instrument is not invited to send the next one before that",
		Wire:       true,
	}, serve.Simulate(simulate))
}
