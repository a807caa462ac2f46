// Hl7-mllp takes HL7 v2 messages over TCP from analysers, monitors and hospital systems, and answers each when it is stored.
//
//	sender -> connection -> [ frame -> parse -> records -> batch ] ==gRPC==> host; ack -> MSA to the sender
package main

import (
	"runtime"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	runtime.GOMAXPROCS(1) // messages come one by one: waking a second processor for each costs more than it helps
	serve.Device(&device{}, sdk.Manifest{
		Name:       "hl7-mllp",
		Version:    "1.0.0",
		Speaks:     "HL7 v2 over MLLP, as the server that senders call or as the client of a sender that listens",
		Identity:   "SHA-256 of MSH-3, MSH-4, MSH-10 and of all segments but MSH; the exam's number in the message behind it",
		LossWindow: "none while the sender sends again what was not acknowledged",
		Wire:       true,
	}, serve.Simulate(simulate))
}
