// Folder reads the exports that eye instruments leave in a folder or on a share.
//
//	share -> [ scan -> settled? -> read -> decode -> batch ] ==gRPC==> host; ack -> done/, failed/
//
// What a scan finds decides; events of the file system only make the next scan come sooner. DESIGN.md says what each
// crash leaves.
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Device(&folder{}, sdk.Manifest{
		Name:       "folder",
		Version:    "1.1.0",
		Speaks:     "JOIA, NIDEK, Huvitz, MYAH and TopaScope XML, GDT, CSV and JSON by a mapping, PDF and images, in files",
		Identity:   "SHA-256 of the file's content, and the exam's number in the file; of a row or an element of a list SHA-256 of its own content",
		LossWindow: "none: a file stays where it is until its exam is on the host's disk",
		Polled:     true,
		Every:      "2s",
	}, serve.Simulate(simulate))
}
