package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	_ "google.golang.org/grpc/encoding/proto" // the codec of every other message
)

// Field numbers of Batch, as in hostd.proto.
const (
	batchNumber  = 1
	batchNext    = 2
	batchRecords = 3
	batchWake    = 4
	batchIdle    = 5
	batchAgain   = 6
)

// ErrMessage is a message that is not what hostd.proto says.
var ErrMessage = errors.New("malformed message")

// Codec is gRPC's "proto" codec with a short cut for Batch messages. It is forced on both ends of every connection.
type Codec struct{ rest encoding.CodecV2 }

// NewCodec makes the codec.
func NewCodec() Codec { return Codec{rest: encoding.GetCodecV2("proto")} }

// Name is the wire's content subtype: the bytes are ordinary protobuf.
func (Codec) Name() string { return "proto" }

// Marshal hands an Outgoing's bytes on without a copy, and everything else to protobuf.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if out, ok := v.(*Outgoing); ok {
		return mem.BufferSlice{mem.NewBuffer(&out.body, buffers{})}, nil
	}
	return c.rest.Marshal(v)
}

// Unmarshal cuts an Incoming into its records, and hands everything else to protobuf.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*Incoming)
	if !ok {
		return c.rest.Unmarshal(data, v)
	}
	if in.Keep {
		in.body = data.Materialize()
	} else {
		in.pooled = data.MaterializeToBuffer(buffers{})
		in.body = in.pooled.ReadOnlyData()
	}
	return in.parse()
}

// Outgoing is a Batch message under construction. Append records with Record or Raw, then send it; the bytes belong
// to the transport from then on, so a new Outgoing is made for each message.
type Outgoing struct{ body []byte }

// NewOutgoing starts a message with a buffer for about size bytes.
func NewOutgoing(size int) *Outgoing { return &Outgoing{body: (*buffers{}.Get(size))[:0]} }

// Len is the size of the message so far, in bytes.
func (o *Outgoing) Len() int { return len(o.body) }

// Head adds the number of the batch and, for a device, the next position (none when empty).
func (o *Outgoing) Head(number uint64, next string) {
	o.body = appendUint(o.body, batchNumber, number)
	o.body = appendString(o.body, batchNext, next)
}

// Sign adds the signs of a polled device: wake, and the end of a poll.
func (o *Outgoing) Sign(wake, idle bool) {
	o.body = appendUint(o.body, batchWake, protowire.EncodeBool(wake))
	o.body = appendUint(o.body, batchIdle, protowire.EncodeBool(idle))
}

// Again marks the first batch to a sink after a failure.
func (o *Outgoing) Again() { o.body = appendUint(o.body, batchAgain, 1) }

// Raw adds a record that is encoded already, with the host's stamps behind it.
func (o *Outgoing) Raw(record []byte, source string, received int64, seq uint64) {
	stamps := sizeString(recSource, source) + 1 + 8 + sizeUint(recSeq, seq)
	o.body = protowire.AppendTag(o.body, batchRecords, protowire.BytesType)
	o.body = protowire.AppendVarint(o.body, uint64(len(record)+stamps))
	o.body = append(o.body, record...)
	o.body = appendString(o.body, recSource, source)
	o.body = protowire.AppendTag(o.body, recReceived, protowire.Fixed64Type)
	o.body = protowire.AppendFixed64(o.body, uint64(received))
	o.body = appendUint(o.body, recSeq, seq)
}

// Incoming is a received Batch message, cut into the encoded records. With Keep its bytes stay valid for ever; without
// it they go back to a pool at Release and must not be used after that.
type Incoming struct {
	Keep    bool
	Number  uint64
	Next    []byte   // of the message's bytes
	Records [][]byte // of the message's bytes
	Wake    bool
	Idle    bool
	Again   bool

	body   []byte
	pooled mem.Buffer
}

// Release gives the message's bytes back. The Incoming may then be received into again.
func (in *Incoming) Release() {
	if in.pooled != nil {
		in.pooled.Free()
	}
	clear(in.Records)
	*in = Incoming{Keep: in.Keep, Records: in.Records[:0]}
}

// Size is the message's size in bytes.
func (in *Incoming) Size() int { return len(in.body) }

func (in *Incoming) parse() error {
	in.Number, in.Next, in.Records, in.Wake, in.Idle, in.Again = 0, nil, in.Records[:0], false, false, false
	return fields(in.body, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case batchNumber:
			in.Number = v
		case batchNext:
			in.Next = b
		case batchRecords:
			in.Records = append(in.Records, b)
		case batchWake:
			in.Wake = v != 0
		case batchIdle:
			in.Idle = v != 0
		case batchAgain:
			in.Again = v != 0
		}
		return nil
	})
}

// fields calls f for each field of a message: v for numbers of any wire type, b for bytes.
func fields(msg []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMessage, protowire.ParseError(n))
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrMessage, num, protowire.ParseError(n))
		}
		if err := f(num, v, b); err != nil {
			return err
		}
		msg = msg[n:]
	}
	return nil
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendBytes(b []byte, num protowire.Number, s []byte) []byte {
	if len(s) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func sizeUint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeString(num protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(s))
}

// buffers is a pool of byte slices, 2.5 KiB to 32 MiB, in steps of a quarter of a power of two: a sink's batch is a little over
// 1 MiB, and half of 2 MiB would be kept for nothing. Unlike gRPC's default pool it does not clear what it hands out: every
// byte of a message is written before it is read.
type buffers struct{}

const minBits, maxBits = 12, 25

//nolint:gochecknoglobals // a pool is shared by nature
var pools [(maxBits + 1) * 4]sync.Pool

// class is the pool of the slices with the least capacity that takes length bytes.
func class(length int) (pool, capacity int) {
	k := max(bits.Len(uint(max(length, 1)-1)), minBits) - 1 // the power of two below
	quarter := 1 << k / 4
	steps := max((length-1<<k+quarter-1)/quarter, 1) // 1 to 4
	return k*4 + steps, 1<<k + steps*quarter
}

// Get gives a slice of the length.
func (buffers) Get(length int) *[]byte {
	pool, capacity := class(length)
	if capacity > 1<<maxBits {
		b := make([]byte, length)
		return &b
	}
	if p, ok := pools[pool].Get().(*[]byte); ok {
		*p = (*p)[:length]
		return p
	}
	b := make([]byte, length, capacity)
	return &b
}

// Put takes a slice back.
func (buffers) Put(p *[]byte) {
	pool, capacity := class(cap(*p))
	if capacity != cap(*p) || capacity > 1<<maxBits {
		return
	}
	*p = (*p)[:0]
	pools[pool].Put(p)
}
