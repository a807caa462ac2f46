// Astm takes what laboratory analysers send over ASTM E1381 and E1394 (CLSI LIS01, LIS02), by serial line or TCP.
//
//	analyser -> line or listener -> [ link -> message -> exams -> batch ] ==gRPC==> host; ack -> ACK, refusal -> NAK
//
// Inner frames are acknowledged from memory; the frame that ends the message only when the message is on the host's disk.
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Device(&device{}, sdk.Manifest{
		Name:    "astm",
		Version: "1.0.0",
		Speaks:  "ASTM E1381 and E1394 (LIS01, LIS02) over serial lines and TCP",
		Identity: "SHA-256 of the message with its header and times; of a message that names no time, with the number of messages stored before, " +
			"so that a second equal one is another",
		LossWindow: "none: the instrument sends again what was not acknowledged; records without frames have no acknowledgement, and are lost that " +
			"were not stored when hostd ends",
		Wire: true,
	}, serve.Simulate(simulate))
}
