package spool

import (
	"encoding/binary"
	"time"
)

// Limits of what a spool keeps by number.
const (
	maxSinks   = 64
	maxDevices = 1 << 16
	maxName    = 256
)

// state is what the frames of the log add up to. Each segment begins with one, so that only the newest is read again.
type state struct {
	next    uint64 // seq of the next record; all in the log are below it
	records uint64 // stored ever
	sinks   []sinkState
	devices []deviceState
}

// sinkState is a sink's part of the state. Every record for it with seq <= cursor is settled.
type sinkState struct {
	name     string
	cursor   uint64
	last     uint64 // seq of the newest record for it
	appended uint64 // records for it ever
	settled  uint64 // of them, delivered or dead
	died     uint64 // of these, dead
	lost     uint64 // appended, and unreadable when its turn came
}

// deviceState is a device's part of the state.
type deviceState struct {
	name     string
	position []byte // where it is not known and not empty: see heirOf
	known    bool   // it has a position, which may be empty
	records  uint64
	unrouted uint64 // records for no sink
	latest   int64  // unix ns of the newest record that the device sent
}

// idle says that nothing waits for the sink.
func (k *sinkState) idle() bool { return k.cursor >= k.last }

// backlog is the number of records that wait for the sink.
func (k *sinkState) backlog() uint64 {
	if k.idle() {
		return 0
	}
	if gone := k.settled + k.lost; k.appended > gone {
		return k.appended - gone
	}
	return 1
}

// apply adds a frame that is on the disk. trusted is false for a frame of a damaged group, whose positions do not
// count: the device then gives its records once more, and what was damaged is healed.
func (s *state) apply(h header, payload []byte, trusted bool) {
	switch h.kind {
	case kindRecord:
		s.record(h)
	case kindPosition:
		if d := s.device(h.num); d == nil || !trusted {
			return
		} else if h.a == positionMoved {
			s.moved(h.num, payload)
		} else {
			d.known = h.a == positionKnown
			d.position = append(d.position[:0], payload...)
		}
	case kindSettle:
		if k := s.sink(h.num); k != nil && h.seq >= k.cursor {
			r := reading{b: payload}
			k.cursor, k.settled, k.lost, k.died = h.seq, h.a, h.b, r.uvarint()
		}
	case kindSink:
		if k := s.sink(h.num); k != nil {
			k.name = string(payload)
		}
	case kindDevice:
		if d := s.device(h.num); d != nil {
			d.name = string(payload)
		}
	case kindTrailer:
		s.next = max(s.next, h.seq)
	case kindSnapshot, kindKey, kindDead, kindClosed, kindGone:
	}
}

func (s *state) record(h header) {
	if h.seq < s.next {
		return // the same group once more, after its first place could not be synced
	}
	s.next = h.seq + 1
	if h.flags&flagCopy == 0 {
		s.records++
	}
	if d := s.device(h.num); d != nil && h.flags&flagCopy == 0 {
		d.records++
		if h.flags&flagOwn == 0 {
			d.latest = int64(h.a)
		}
		if h.b == 0 {
			d.unrouted++
		}
	}
	for set, n := h.b, uint32(0); set != 0; set, n = set>>1, n+1 {
		if set&1 == 1 {
			k := s.sink(n)
			k.appended++
			k.last = h.seq
		}
	}
}

// sink returns the sink with that number, made where there is none: its name may stand later in the group.
func (s *state) sink(n uint32) *sinkState {
	if n >= maxSinks {
		return nil
	}
	for uint32(len(s.sinks)) <= n {
		s.sinks = append(s.sinks, sinkState{})
	}
	return &s.sinks[n]
}

func (s *state) device(n uint32) *deviceState {
	if n >= maxDevices {
		return nil
	}
	for uint32(len(s.devices)) <= n {
		s.devices = append(s.devices, deviceState{})
	}
	return &s.devices[n]
}

// encode is the payload of a snapshot. The cursor of an idle sink moves to the end, which frees the segments before.
func (s *state) encode() []byte {
	b := binary.AppendUvarint(nil, s.records)
	b = binary.AppendUvarint(b, uint64(len(s.sinks)))
	for i := range s.sinks {
		k := s.sinks[i]
		if k.idle() && s.next > 0 {
			k.cursor, k.lost = max(k.cursor, s.next-1), k.appended-k.settled
		}
		b = appendBytes(b, []byte(k.name))
		for _, v := range [...]uint64{k.cursor, k.last, k.appended, k.settled, k.died, k.lost} {
			b = binary.AppendUvarint(b, v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.devices)))
	for i := range s.devices {
		d := &s.devices[i]
		b = appendBytes(b, []byte(d.name))
		b = appendBytes(b, d.position)
		known := uint64(0)
		if d.known {
			known = 1
		}
		for _, v := range [...]uint64{known, d.records, d.unrouted, uint64(d.latest)} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

// decodeState reads a snapshot's payload; false means that it is none.
func decodeState(next uint64, b []byte) (*state, bool) {
	r := reading{b: b}
	s := &state{next: next, records: r.uvarint()}
	for n := r.count(maxSinks); n > 0; n-- {
		s.sinks = append(s.sinks, sinkState{
			name: string(r.bytes()), cursor: r.uvarint(), last: r.uvarint(),
			appended: r.uvarint(), settled: r.uvarint(), died: r.uvarint(), lost: r.uvarint(),
		})
	}
	for n := r.count(maxDevices); n > 0; n-- {
		s.devices = append(s.devices, deviceState{
			name: string(r.bytes()), position: append([]byte(nil), r.bytes()...),
			known: r.uvarint() == 1, records: r.uvarint(), unrouted: r.uvarint(), latest: int64(r.uvarint()),
		})
	}
	return s, !r.bad && len(r.b) == 0
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

// reading takes values off the front of b; after the first that is not there, bad is set and all others are zero.
type reading struct {
	b   []byte
	bad bool
}

func (r *reading) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reading) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// count reads a number of things that follow, of which each takes at least a byte.
func (r *reading) count(limit int) int {
	n := r.uvarint()
	if r.bad || n > uint64(limit) || n > uint64(len(r.b)) {
		r.bad = r.bad || n > 0
		return 0
	}
	return int(n)
}

// unixTime is the time of ns, zero for 0.
func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
