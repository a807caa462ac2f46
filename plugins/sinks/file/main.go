// File keeps records as lines of JSON in files that sort by name, and their attachments beside them by hash.
//
//	host ==gRPC==> [ file ] -> DIR/hostd-20260301T081500Z-000001.ndjson, DIR/attachments/aa/HASH
//
// A line is one record: id, device, kind, seq, time and received_at (RFC 3339 with nanoseconds; null where the
// instrument named no time), content_type, labels, amends, unassigned, data, encoding, raw, attachments. What is empty
// is left out, but for id, device, kind, seq, the times and data. The data is
//   - an object or array, byte for byte, where the record's data is such JSON in one line;
//   - else a string with the text itself, where it is UTF-8;
//   - else a string in base64, and encoding says "base64";
//   - null, where the data is the attachment with the role "data".
//
// The raw bytes are always base64. A record that amends another one is a line of its own: the reader joins them.
package main

import (
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	serve.Sink(&sink{}, sdk.Manifest{
		Name:    "file",
		Version: "1.0.0",
		Speaks:  "every kind of record, as lines of JSON",
		LossWindow: "nothing is lost; a crash between the write and its answer can leave records twice, " +
			"as whole lines with the same device, id and seq",
	}, serve.Simulate(simulate))
}
