package main

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// kindMessage is the kind of a message without results, such as a query.
const kindMessage = "astm"

// Labels besides those of rejects.
const (
	labelMessage = "message" // result, query, order or other
	labelMake    = "make"
	labelDetail  = "detail"
)

// keyOf is the identity of bytes in a batch and in a position: half of their SHA-256 in hexadecimal digits.
func keyOf(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:16]) }

// records makes the records of a message, and its key: an exam for each order, or the message as it is where it has no result.
// One that cannot be read is a reject, whole. count is how many messages were stored before.
func (d *device) records(v *delivery, count int64) []sdk.Record {
	sum := sha256.Sum256(v.message)
	v.key = keyOf(sum)
	m := astm.Message(v.message)
	found, err := m.Read(d.options)
	id := v.key
	if !found.Timed {
		id += "-n" + strconv.FormatInt(count, 10) // a second equal message is another one
	}
	if err != nil {
		d.env.Log.Warn("message cannot be read", "id", id, "err", err, "bytes", len(v.message))
		return []sdk.Record{rejected(id, exam.Reject{Reason: astm.Reason(err), Length: int64(len(v.message)), Detail: err.Error()}, v.message)}
	}
	labels := map[string]string{labelMessage: string(found.Content)}
	if len(found.Orders) == 0 {
		return []sdk.Record{{ID: id, Kind: kindMessage, Labels: labels, ContentType: "text/plain", Data: v.message}}
	}
	list := make([]sdk.Record, 0, len(found.Orders))
	for i := range found.Orders {
		list = append(list, d.examRecord(id, sum, v, &found.Orders[i], i, labels))
	}
	return list
}

// examRecord is exam i of a message. The first one carries the whole message, the others what they rest on.
func (d *device) examRecord(id string, sum [sha256.Size]byte, v *delivery, o *astm.Order, i int, labels map[string]string) sdk.Record {
	raw := v.message
	if i > 0 {
		id += "-" + strconv.Itoa(i+1)
		raw = o.Part(v.message)
	}
	for _, w := range v.warnings {
		o.Exam.Warn(w)
	}
	data, err := exam.Encode(o.Exam)
	if err != nil {
		d.env.Log.Warn("exam breaks the schema", "id", id, "err", err)
		return rejected(id, exam.Reject{Reason: exam.RejectNoise, Length: int64(len(raw)), Detail: err.Error()}, raw)
	}
	if m := o.Exam.Device.Make; m != "" && len(m) <= 64 {
		labels = map[string]string{labelMessage: labels[labelMessage], labelMake: m}
	}
	return sdk.Record{
		ID: id, Kind: exam.Kind, Time: exam.ParseTakenAt(o.Exam.TakenAt), Labels: labels,
		ContentType: exam.ContentType, Data: data, Raw: raw, Digest: sum[:],
	}
}

// rejectRecord is what a link could not read.
func (d *device) rejectRecord(v *delivery) sdk.Record {
	id := keyOf(sha256.Sum256(append([]byte(v.reject.Reason+"\x00"), v.message...)))
	d.env.Log.Warn("line cannot be read", "id", id+"-r", "reason", v.reject.Reason, "detail", v.reject.Detail, "bytes", v.reject.Length)
	return rejected(id, v.reject, v.message)
}

func rejected(id string, r exam.Reject, raw []byte) sdk.Record {
	return sdk.Record{
		ID: id + "-r", Kind: sdk.KindReject, Raw: raw,
		Labels: map[string]string{
			sdk.LabelReason: r.Reason, labelDetail: r.Detail,
			sdk.LabelOffset: strconv.FormatInt(r.Offset, 10), sdk.LabelLength: strconv.FormatInt(r.Length, 10),
		},
		Digest: digestOf(raw),
	}
}

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// position says how many messages are stored, and which are those of the last batch that had one: the instrument may not have
// heard that.
func (d *device) position(count int64) sdk.Position {
	keys := make([]string, 0, len(d.batch))
	for _, v := range d.batch {
		if v.conn != nil {
			keys = append(keys, v.key)
		}
	}
	if len(keys) == 0 {
		d.mu.Lock()
		keys = slices.Sorted(maps.Keys(d.recent))
		d.mu.Unlock()
	}
	return sdk.Position(strconv.FormatInt(count, 10) + ";" + strings.Join(keys, ","))
}

// recall takes a position over.
func (d *device) recall(p sdk.Position) {
	number, keys, _ := strings.Cut(string(p), ";")
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil && p != "" {
		d.env.Log.Warn("position is not of this plugin: what the instrument sends again is stored again")
	}
	recent := map[string]bool{}
	for key := range strings.SplitSeq(keys, ",") {
		if key != "" {
			recent[key] = true
		}
	}
	d.count = count
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent = recent
}
