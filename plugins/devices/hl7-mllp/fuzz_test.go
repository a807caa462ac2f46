package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/hl7"
)

// FuzzConversation says any bytes to the device: it comes to an end, and acknowledges only what is stored.
func FuzzConversation(f *testing.F) {
	one := oru("1", "-1.25")
	for _, s := range []string{
		frame(one), frame(one) + "junk" + frame(oru("2", "-2.00", "", "", "AL", "AL")), vt + one[:50] + frame(one), frame(""), frame("MSH|"),
		frame("FHS|^~\\&\r" + one + one + "FTS|1\r"), vt + ack + fs + cr, frame(strings.Replace(one, "ORU", "ACK", 1)), vt + strings.Repeat("x", 2000) + fs,
		frame("MSH|^~\\&|A|B|||||MDM^T02|9|P|2.3\rPID|||1\rOBX|1|ED|PDF||^application^pdf^Base64^JVBERi0xLjQ=\r"),
	} {
		f.Add([]byte(s), byte(len(s)))
		f.Add([]byte(s), byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, step byte) {
		r := newVirtualRig(t, map[string]any{"max_message_kb": 1}).mustOpen()
		ours, theirs := net.Pipe()
		over := make(chan error, 1)
		s := r.d.session
		go func() { over <- s.converse(context.Background(), ours, netip.MustParseAddr("127.0.0.1")) }()
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(max(int(step), 1), len(rest))
				if _, err := theirs.Write(rest[:n]); err != nil {
					return // the device has hung up
				}
				rest = rest[n:]
			}
			_ = theirs.Close()
		}()
		heard, _ := io.ReadAll(theirs) // up to the end, whichever side made it
		<-over
		var ids strings.Builder
		for _, rec := range r.records() {
			ids.WriteString(rec.ID + "\n")
		}
		for reply := range strings.SplitSeq(string(heard), vt) {
			a, err := hl7.ParseReply([]byte(strings.TrimRight(reply, fs+cr)))
			if err == nil && a.Code.OK() && !strings.Contains(ids.String(), "|"+strings.ToValidUTF8(a.ID[:min(len(a.ID), 50)], "?")) {
				t.Fatalf("%q was acknowledged, and these are stored:\n%s", a.ID, ids.String())
			}
		}
		r.close()
	})
}
