package wire

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// examChanges are those of the sql sink for exams of ten observations.
func examChanges(n int) []sdk.Change {
	changes := make([]sdk.Change, n)
	for i := range changes {
		id, source := fmt.Sprint("ark-1-", i), any("ark-1")
		rows := make([]sdk.Row, 10)
		for k := range rows {
			rows[k] = sdk.Row{"source": source, "record_id": id, "idx": int64(k), "code": "sphere", "eye": "R", "method": "autoref", "seq": int64(0), "value_num": -1.25, "value_text": "-1.25", "unit": "D", "text": "", "flags": "[]"}
		}
		changes[i] = sdk.Once{Source: "ark-1", ID: id, Hash: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Seq: uint64(i), Changes: []sdk.Change{
			asValues("record", sdk.Row{"source": source, "record_id": id, "kind": "exam", "taken_at": "2026-03-02T09:30:00", "received_at": "2026-03-02T09:30:00.000000000Z", "seq": int64(i), "content_type": "application/json", "labels": "{}", "data": make([]byte, 1000), "raw": nil, "content_hash": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "amends": "", "unassigned": false}),
			asValues("exam", sdk.Row{"source": source, "record_id": id, "patient_id": "P1", "patient_name": "Muster Anna", "patient_birth": "1970-03-15", "patient_sex": "F", "device_make": "hostd", "device_model": "bench", "device_serial": "0", "taken_at": "2026-03-02T09:30:00", "received_at": "2026-03-02T09:30:00.000000000Z", "unassigned": false, "warnings": "[]", "amended_by": ""}),
			asValues("observation", rows...),
		}}
	}
	return changes
}

// asValues is an insert of rows as the sql sink writes it.
func asValues(table string, rows ...sdk.Row) sdk.Insert {
	out, err := flatten(table, rows, nil, nil)
	if err != nil {
		panic(err)
	}
	return sdk.Insert{Table: table, Columns: out.columns, Values: out.values}
}

// BenchmarkChanges is a batch's way from a sink's rows to those of the host, without the transport: packed, and plain as
// for a host or a plugin that does not know that.
func BenchmarkChanges(b *testing.B) {
	for _, packed := range []bool{true, false} {
		b.Run(fmt.Sprintf("packed=%v", packed), func(b *testing.B) {
			const records = 1000
			changes, c := examChanges(records), storeClient{packed: packed}
			b.ReportAllocs()
			for b.Loop() {
				out, err := c.request(changes)
				if err != nil {
					b.Fatal(err)
				}
				raw, err := proto.Marshal(out)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(raw))/records, "bytes/exam")
				var in pb.WriteRequest
				if err := proto.Unmarshal(raw, &in); err != nil {
					b.Fatal(err)
				}
				if got, err := requestFrom(&in); err != nil || len(got) != records {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*records), "us/exam")
		})
	}
}
