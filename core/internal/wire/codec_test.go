package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// dice makes random records.
type dice struct{ *rand.Rand }

func newDice(t *testing.T) dice {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return dice{rand.New(rand.NewPCG(seed, 1))}
}

func (d dice) text(most int) string {
	letters := []rune("abcXYZ09-_äß한글 \n\x00")
	b := make([]rune, d.IntN(most+1))
	for i := range b {
		b[i] = letters[d.IntN(len(letters))]
	}
	return string(b)
}

// bytes is nil or at least one byte: proto3 has no other difference.
func (d dice) bytes(most int) []byte {
	n := d.IntN(most + 1)
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return b
}

func (d dice) time() time.Time {
	switch d.IntN(4) {
	case 0:
		return time.Time{}
	case 1:
		return time.Unix(d.Int64N(4e9), d.Int64N(1e9)).UTC()
	default:
		return time.Unix(d.Int64N(8e9)-4e9, 1+d.Int64N(1e9-1)).In(time.FixedZone("", (d.IntN(57)-28)*1800))
	}
}

func (d dice) record() sdk.Record {
	r := sdk.Record{
		ID: d.text(30), Kind: d.text(10), Time: d.time(), ContentType: d.text(20), Data: d.bytes(300), Raw: d.bytes(300),
		Digest: d.bytes(32), Amends: d.text(20), Unassigned: d.IntN(2) == 0, Patient: d.text(10),
	}
	for range d.IntN(4) {
		if r.Labels == nil {
			r.Labels = map[string]string{}
		}
		r.Labels[d.text(8)] = d.text(8)
	}
	for range d.IntN(3) {
		r.Attachments = append(r.Attachments, sdk.Attachment{
			Name: d.text(10), ContentType: d.text(10), Path: d.text(10), Size: d.Int64N(4 << 30), Hash: d.text(64), Role: d.text(4),
		})
	}
	return r
}

// toProto is the record as the generated code has it.
func toProto(r *sdk.Record) *pb.Record {
	m := &pb.Record{
		Id: r.ID, Kind: r.Kind, Labels: r.Labels, ContentType: r.ContentType, Data: r.Data, Raw: r.Raw, Digest: r.Digest,
		Amends: r.Amends, Source: r.Source, Seq: r.Seq, Unassigned: r.Unassigned, Patient: r.Patient,
	}
	if !r.Time.IsZero() {
		_, offset := r.Time.Zone()
		m.Time, m.UtcOffset = r.Time.UnixNano(), int32(offset)
	}
	if !r.Received.IsZero() {
		m.Received = r.Received.UnixNano()
	}
	for _, a := range r.Attachments {
		m.Attachments = append(m.Attachments, &pb.Attachment{
			Name: a.Name, ContentType: a.ContentType, Staged: a.Path, Size: uint64(a.Size), Hash: a.Hash, Role: a.Role,
		})
	}
	return m
}

// sameRecord compares; a time by its moment and offset, since locations have no equality.
func sameRecord(a, b *sdk.Record) bool {
	_, x := a.Time.Zone()
	_, y := b.Time.Zone()
	p, q := *a, *b
	p.Time, q.Time = time.Time{}, time.Time{}
	return a.Time.Equal(b.Time) && x == y && reflect.DeepEqual(p, q)
}

// TestRecordEqualsProtobuf holds that the codec by hand and the generated one read each other.
func TestRecordEqualsProtobuf(t *testing.T) {
	d := newDice(t)
	var dec Decoder
	for range 3000 {
		r := d.record()
		ours := AppendRecord(nil, &r)
		if len(ours) != RecordSize(&r) {
			t.Fatalf("RecordSize is %d, encoded are %d: %+v", RecordSize(&r), len(ours), r)
		}
		var m pb.Record
		if err := proto.Unmarshal(ours, &m); err != nil {
			t.Fatalf("protobuf does not read ours: %v", err)
		}
		if want := toProto(&r); !proto.Equal(&m, want) {
			t.Fatalf("protobuf reads\n%v\nwant\n%v", &m, want)
		}
		r.Source, r.Seq, r.Received = d.text(8), d.Uint64(), time.Unix(0, 1+d.Int64N(4e18)).UTC()
		theirs, err := proto.Marshal(toProto(&r))
		if err != nil {
			t.Fatal(err)
		}
		var got sdk.Record
		if err := dec.Record(theirs, &got); err != nil {
			t.Fatalf("we do not read protobuf: %v", err)
		}
		if !sameRecord(&got, &r) {
			t.Fatalf("we read\n%+v\nwant\n%+v", got, r)
		}
	}
}

// TestBatchEqualsProtobuf is the same for whole messages, through the codec that gRPC calls.
func TestBatchEqualsProtobuf(t *testing.T) {
	d, codec := newDice(t), NewCodec()
	for range 300 {
		want := &pb.Batch{Number: d.Uint64N(1000), Next: d.bytes(40), Wake: d.IntN(2) == 0, Idle: d.IntN(2) == 0, Again: d.IntN(2) == 0}
		out := NewOutgoing(d.IntN(10000))
		out.Head(want.GetNumber(), string(want.GetNext()))
		out.Sign(want.GetWake(), want.GetIdle())
		if want.GetAgain() {
			out.Again()
		}
		for range d.IntN(20) {
			r := d.record()
			out.Record(&r)
			want.Records = append(want.Records, toProto(&r))
		}
		var got pb.Batch
		if err := proto.Unmarshal(out.body, &got); err != nil || !proto.Equal(&got, want) {
			t.Fatalf("protobuf reads %v (%v), want %v", &got, err, want)
		}
		theirs, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		in := Incoming{Keep: true}
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(theirs)}, &in); err != nil {
			t.Fatal(err)
		}
		if in.Number != want.GetNumber() || !bytes.Equal(in.Next, want.GetNext()) || in.Wake != want.GetWake() ||
			in.Idle != want.GetIdle() || in.Again != want.GetAgain() || len(in.Records) != len(want.GetRecords()) {
			t.Fatalf("we read %+v, want %v", in, want)
		}
		for i, body := range in.Records {
			var m pb.Record
			if err := proto.Unmarshal(body, &m); err != nil || !proto.Equal(&m, want.GetRecords()[i]) {
				t.Fatalf("record %d is %v (%v), want %v", i, &m, err, want.GetRecords()[i])
			}
		}
	}
}

// TestRawStamps holds that the host's stamps win over what a device wrote into their fields.
func TestRawStamps(t *testing.T) {
	r := sdk.Record{ID: "1", Kind: "exam", Data: []byte("x")}
	forged := toProto(&r)
	forged.Source, forged.Received, forged.Seq = "forged", 1, 2
	body, err := proto.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	out := NewOutgoing(0)
	received := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	out.Raw(body, "ark-1", received.UnixNano(), 77)
	in := Incoming{Keep: true, body: out.body}
	if err := in.parse(); err != nil {
		t.Fatal(err)
	}
	var dec Decoder
	var got sdk.Record
	if err := dec.Record(in.Records[0], &got); err != nil {
		t.Fatal(err)
	}
	if got.Source != "ark-1" || !got.Received.Equal(received) || got.Seq != 77 || got.ID != "1" || string(got.Data) != "x" {
		t.Errorf("%+v", got)
	}
	var m pb.Batch
	if err := proto.Unmarshal(out.body, &m); err != nil || m.GetRecords()[0].GetSource() != "ark-1" || m.GetRecords()[0].GetSeq() != 77 {
		t.Errorf("another language reads %v, %v", &m, err)
	}
}

func TestScan(t *testing.T) {
	long := string(bytes.Repeat([]byte("i"), sdk.MaxID))
	for _, c := range []struct {
		name string
		r    sdk.Record
		bad  bool
	}{
		{"good", sdk.Record{ID: long, Kind: "k", Labels: map[string]string{"message": "ORU^R01"}}, false},
		{"no id", sdk.Record{Kind: "k"}, true},
		{"long id", sdk.Record{ID: long + "i", Kind: "k"}, true},
		{"no kind", sdk.Record{ID: "1"}, true},
		{"id is not text", sdk.Record{ID: "\xff", Kind: "k"}, true},
		{"too large", sdk.Record{ID: "1", Kind: "k", Data: make([]byte, sdk.MaxRecord)}, true},
		{"label is not text", sdk.Record{ID: "1", Kind: "k", Labels: map[string]string{"message": "\xff"}}, true},
		{"name of a file is not text", sdk.Record{ID: "1", Kind: "k", Attachments: []sdk.Attachment{{Name: "\xff"}}}, true},
		{"file too large", sdk.Record{ID: "1", Kind: "k", Attachments: []sdk.Attachment{{Name: "a", Size: sdk.MaxAttached + 1}}}, true},
	} {
		var h Head
		err := Scan(AppendRecord(nil, &c.r), &h)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
		if v, ok := h.Label("message"); !c.bad && (!ok || v != "ORU^R01" || string(h.ID) != long) {
			t.Errorf("%s: head %+v", c.name, h)
		}
	}
	if err := Scan([]byte{0x0a, 0x05, 'x'}, &Head{}); !errors.Is(err, ErrMessage) {
		t.Errorf("torn record: %v", err)
	}
}

// TestBuffersKeepContent holds that a buffer which comes back from the pool is never in two hands, and that what is
// written into it is what arrives.
func TestBuffersKeepContent(t *testing.T) {
	d, codec := newDice(t), NewCodec()
	type held struct {
		in   *Incoming
		want []byte
	}
	var open []held
	check := func(h held) {
		t.Helper()
		if !bytes.Equal(h.in.Records[0], h.want) {
			t.Fatalf("content of a message of %d bytes has changed while it was held", h.in.Size())
		}
		h.in.Release()
	}
	for i := range 400 {
		body := bytes.Repeat([]byte{byte(i + 1)}, 1+d.IntN(40000))
		record := AppendRecord(nil, &sdk.Record{ID: fmt.Sprint(i), Data: body})
		out := NewOutgoing(d.IntN(9000))
		out.Raw(record, "", 0, 0)
		slices, err := codec.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		// Two pieces, so that the message is put together in a buffer of the pool.
		whole := slices.Materialize()
		slices.Free()
		half := len(whole) / 2
		in := &Incoming{}
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(whole[:half]), mem.SliceBuffer(whole[half:])}, in); err != nil {
			t.Fatal(err)
		}
		open = append(open, held{in, bytes.Clone(in.Records[0])})
		if !bytes.HasPrefix(in.Records[0], record) {
			t.Fatal("the record is not what was sent")
		}
		if len(open) > 8 {
			n := d.IntN(len(open))
			check(open[n])
			open = append(open[:n], open[n+1:]...)
		}
	}
	for _, h := range open {
		check(h)
	}
}

func TestBuffersSizes(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 1<<20 + 1, 1 << 25, 1<<25 + 1} {
		p := buffers{}.Get(n)
		if len(*p) != n {
			t.Errorf("asked for %d bytes, got %d", n, len(*p))
		}
		buffers{}.Put(p)
		if q := (buffers{}).Get(n); len(*q) != n {
			t.Errorf("asked again for %d bytes, got %d", n, len(*q))
		}
	}
}

func FuzzDecoderRecord(f *testing.F) {
	seedRecords(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var dec Decoder
		var r sdk.Record
		if err := dec.Record(body, &r); err != nil {
			return
		}
		if n := len(r.ID) + len(r.Kind) + len(r.Data) + len(r.Raw) + len(r.Digest) + len(r.Patient); n > len(body) || len(r.Labels)+len(r.Attachments) > len(body) {
			t.Fatalf("record of %d bytes is read as %d bytes, %d labels, %d attachments", len(body), n, len(r.Labels), len(r.Attachments))
		}
		_ = r.Time.Format(time.RFC3339Nano)
	})
}

func FuzzScan(f *testing.F) {
	seedRecords(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var h Head
		if err := Scan(body, &h); err != nil {
			return
		}
		var r sdk.Record
		if err := new(Decoder).Record(body, &r); err != nil {
			t.Fatalf("the host takes a record that a sink cannot read: %v", err)
		}
		if r.ID != string(h.ID) || r.Kind != string(h.Kind) || len(h.Labels) > len(body) || len(h.Attachments) != len(r.Attachments) {
			t.Fatalf("head %+v of record %+v", h, r)
		}
	})
}

func FuzzIncoming(f *testing.F) {
	out := NewOutgoing(0)
	out.Head(3, "position")
	out.Raw([]byte("\x0a\x01x"), "ark", 1, 2)
	f.Add(out.body)
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x1b, 0x1c})
	f.Fuzz(func(t *testing.T, body []byte) {
		in := Incoming{Keep: true, body: body}
		if err := in.parse(); err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatalf("%v is not ErrMessage", err)
			}
			return
		}
		n := len(in.Next)
		for _, r := range in.Records {
			n += len(r)
		}
		if len(in.Records) > len(body) || n > len(body) {
			t.Fatalf("message of %d bytes is read as %d records of %d bytes", len(body), len(in.Records), n)
		}
	})
}

func seedRecords(f *testing.F) {
	r := sdk.Record{
		ID: "1", Kind: "exam", Time: time.Unix(1, 2), Labels: map[string]string{"a": "b"}, Data: []byte("{}"), Raw: []byte("raw"),
		Attachments: []sdk.Attachment{{Name: "a.jpg", Size: 3, Hash: "00"}},
	}
	f.Add(AppendRecord(nil, &r))
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x01, 'x', 0x12, 0x01, 'k', 0x18, 0x01})
	f.Add([]byte{0x2a, 0x02, 0x0a, 0x05})
}
