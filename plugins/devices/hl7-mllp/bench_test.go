package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkRead makes records and an answer of a message of 1 KiB, without connection and host.
func BenchmarkRead(b *testing.B) {
	r := newVirtualRig(b, nil)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	r.d = &device{}
	must(b, r.openDevice(ctx, ""))
	i := instrument{seed: 1}
	var frames [][]byte
	for n := range 1000 {
		frames = append(frames, i.message(n, 1024, i.control(n)))
	}
	peer, s := netip.MustParseAddr("127.0.0.1"), r.d.session
	b.SetBytes(1024)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		m, answer, err := s.read(peer, frames[n%len(frames)])
		if err != nil || m.faulty || m.records[0].Kind != "exam" {
			b.Fatal(fmt.Sprint(err, m))
		}
		out, _ := answer.append(nil, stored, s)
		if len(out) == 0 {
			b.Fatal("no answer")
		}
		n++
	}
}
