package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

// send delivers a message as it should be, and hears every answer.
func (c *caller) send(message string) {
	c.t.Helper()
	c.say(enq)
	c.expect(ack)
	for _, f := range frames(message) {
		c.say(f)
		c.expect(ack)
	}
	c.say(eot)
}

func TestRecords(t *testing.T) {
	r := newRig(t, map[string]any{"tests": []map[string]any{{"source": "IOPR", "code": "iop", "eye": "R", "method": "tono"}}})
	c := r.call()
	two := strings.Replace(text("1"), "L|1|N", "O|2|S2\rR|1|^^^IOPR|14||||||||||20250314091600\rL|1|N", 1)
	c.send(two)
	c.send("H|\\^&|||LAB|||||||P|1|20250314091501\rQ|1|^SP||ALL\rL|1|N\r")
	c.send("H|\\^&|||LAB\rO|1|SP||^^^GLU\rL|1|N\r")
	r.await(4)
	list := r.records()
	sum := sha256.Sum256([]byte(two))
	key := hex.EncodeToString(sum[:16])
	if got := r.kinds(); got != "exam result, exam result, astm query, astm order" {
		t.Fatal(got)
	}
	if list[0].ID != key || list[1].ID != key+"-2" || string(list[0].Raw) != two || !strings.HasSuffix(string(list[1].Raw), "20250314091600\r") || list[0].Labels[labelMake] != "LAB" {
		t.Errorf("%+v", list[:2])
	}
	if !list[0].Time.Equal(time.Date(2025, 3, 14, 9, 15, 0, 0, time.Local)) || string(list[2].Data) == "" || list[2].Raw != nil || !strings.HasSuffix(list[3].ID, "-n2") {
		t.Errorf("%v %q %s", list[0].Time, list[2].Data, list[3].ID)
	}
	e, err := exam.Decode(list[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	if o := e.Observations[1]; o.Code != exam.CodeIOP || o.Eye != exam.Right || o.Unit != "mmHg" || o.Method != exam.MethodTono {
		t.Errorf("%+v", o)
	}
}

// TestInPieces cuts the transfer at each byte, and gives it byte by byte.
func TestInPieces(t *testing.T) {
	r := newRig(t, nil)
	c := r.call()
	all := frames(text("1"))
	for at := 1; at < len(all[1]); at++ {
		c.say(enq)
		c.expect(ack)
		c.say(all[0])
		c.expect(ack)
		c.say(all[1][:at])
		c.say(all[1][at:])
		c.expect(ack)
		c.say(eot)
	}
	c.say(enq)
	c.expect(ack)
	for _, f := range all {
		for i := range len(f) {
			c.say(f[i : i+1])
		}
		c.expect(ack)
	}
	c.say(eot)
	c.say(enq)
	c.expect(ack)
	r.await(1 + len(all[1]) - 1)
	for i, rec := range r.records() {
		if last := i == len(r.records())-1; rec.Kind != sdk.KindReject != last || !last && rec.Labels[sdk.LabelReason] != exam.RejectTruncated {
			t.Fatalf("%d: %+v", i, rec)
		}
	}
}

// TestAtOnce sends all frames in one write; the answer to the last one waits for the host.
func TestAtOnce(t *testing.T) {
	r := newRig(t, nil)
	c := r.call()
	c.say("junk", enq, strings.Join(frames(text("1")), ""))
	c.expect(strings.Repeat(ack, 6))
	c.say(eot, enq, strings.Join(frames(text("2")), ""))
	c.expect(strings.Repeat(ack, 6))
	c.say(eot, text("3"), text("4"), strings.TrimSuffix(text("5"), "\r"))
	c.Close()
	r.await(6)
	if got := r.kinds(); got != "reject noise, exam result, exam result, exam result, exam result, exam result" {
		t.Error(got)
	}
	if got := r.patients(); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
		t.Error(got)
	}
}

// TestHalfClose has the answer come after the instrument has ended its half.
func TestHalfClose(t *testing.T) {
	r := newRig(t, nil)
	c := r.call()
	r.hold.Lock()
	c.say(enq, strings.Join(frames(text("1")), ""))
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expect(strings.Repeat(ack, 5))
	time.Sleep(20 * time.Millisecond) // for the end to be heard; where it is later, less is tested
	r.hold.Unlock()
	c.expect(ack)
	c.ends()
	r.await(1)
}

// TestCut has transfers end too early: each leaves a reject with its bytes, and the whole one comes again.
func TestCut(t *testing.T) {
	r := newRig(t, nil)
	all := frames(text("1"))
	c := r.call()
	c.say(enq, all[0], all[1], eot)
	c.expect(strings.Repeat(ack, 3))
	r.await(1)
	c.say(enq, all[0], all[1], all[2][:7])
	c.Close()
	r.await(2)
	d := r.call()
	d.say(enq, all[0], strings.Replace(all[1], "P", "Q", 1))
	d.expect(ack + ack + nak)
	d.say(all[1])
	d.expect(ack)
	d.say(enq)
	d.expect(ack)
	r.await(2)
	d.send(text("1"))
	r.await(1)
	if got := r.kinds(); got != "reject truncated, reject truncated, reject truncated, reject checksum, reject truncated, exam result" {
		t.Error(got)
	}
	first := r.records()[0]
	if !strings.HasPrefix(text("1"), string(first.Raw)) || first.Labels[sdk.LabelOffset] != "1" || first.Labels[sdk.LabelLength] != fmt.Sprint(len(all[0])+len(all[1])) {
		t.Errorf("%q %v", first.Raw, first.Labels)
	}
}

// TestRefused has the host refuse: NAK to the frame, and to ENQ while there is no room; nothing counts as cut.
func TestRefused(t *testing.T) {
	r := newRig(t, nil)
	all := frames(text("1"))
	r.mu.Lock()
	r.refuse = 3
	r.mu.Unlock()
	c := r.call()
	c.say(enq, strings.Join(all, ""))
	c.expect(strings.Repeat(ack, 5) + nak)
	c.say(all[4])
	c.expect(nak)
	c.say(eot, enq)
	c.expect(nak)
	r.d.busy.Store(0) // as after ten seconds
	c.say(enq, strings.Join(all, ""))
	c.expect(strings.Repeat(ack, 5) + nak)
	c.say(all[4])
	c.expect(ack)
	c.send(text("2"))
	r.await(2)
	if got := r.patients(); !slices.Equal(got, []string{"1", "2"}) || len(r.records()) != 2 {
		t.Error(got, r.kinds())
	}
}

// TestRefusedReject has what could not be read come again.
func TestRefusedReject(t *testing.T) {
	r := newRig(t, nil)
	r.mu.Lock()
	r.refuse = 1
	r.mu.Unlock()
	c := r.call()
	c.say("junk", enq)
	c.expect(ack)
	r.await(1)
	if got := r.kinds(); got != "reject noise" {
		t.Error(got)
	}
}

// TestAgain tells a message that comes again because its answer was lost from a second equal one.
func TestAgain(t *testing.T) {
	timeless := "H|\\^&|||LAB\rR|1|^^^GLU|98\rL|1|N\r"
	for name, c := range map[string]struct {
		message string
		lost    bool // the answer
		loose   bool // without frames
		want    int  // ids, of two messages
	}{
		"with a time, answer lost":     {text("1"), true, false, 1},
		"with a time, answer heard":    {text("1"), false, false, 1},
		"without a time, answer lost":  {timeless, true, false, 1},
		"without a time, answer heard": {timeless, false, false, 2},
		"without frames and a time":    {timeless, false, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			line, rest := r.call(), 3
			switch {
			case c.loose:
				line.say(timeless, timeless)
				r.await(2)
				r.kill()
				r.open()
				line = r.call()
				line.say(timeless)
				rest = 2
			case c.lost:
				line.say(enq, strings.Join(frames(c.message), ""))
				r.await(1)
				r.call().say("junk", enq) // a batch without a message forgets nothing
				r.await(1)
				r.kill()
				r.open()
				line = r.call()
				line.send(c.message)
				rest = 1
			default:
				line.send(c.message)
				line.send(c.message)
			}
			line.send(text("2"))
			r.await(rest)
			ids := r.ids()
			maps.DeleteFunc(ids, func(id string, _ int) bool { return strings.HasSuffix(id, "-r") })
			if n := len(ids); n != c.want+1 {
				t.Errorf("%d ids: %v", n, r.ids())
			}
		})
	}
}

func TestAllow(t *testing.T) {
	for allow, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.0/8": true, "192.168.1.0/24,127.0.0.1/32": true, "192.168.1.0/24": false, "127.0.0.2": false, "::1": false,
	} {
		r := newRig(t, map[string]any{"allow": strings.Split(allow, ",")})
		c := r.call()
		if want {
			c.say(enq)
			c.expect(ack)
			continue
		}
		c.ends()
		if !strings.Contains(r.log.String(), line.NotAllowed) {
			t.Errorf("%s: %s", allow, r.log.String())
		}
	}
}

// TestOneAddress holds that an instrument which never ends its connections does not keep the others out.
func TestOneAddress(t *testing.T) {
	r := newRig(t, map[string]any{"max_connections": 3, "max_per_address": 2})
	for range 2 {
		c := r.call()
		c.say(enq)
		c.expect(ack)
	}
	r.call().ends()
	if !strings.Contains(r.log.String(), line.TooManyEach) {
		t.Error(r.log.String())
	}
}

func TestBounds(t *testing.T) {
	r := newRig(t, map[string]any{"max_connections": 2, "max_message_mb": 1, "max_memory_mb": 1})
	a, b := r.call(), r.call()
	a.say(enq)
	a.expect(ack)
	b.say(enq)
	b.expect(ack)
	r.call().ends() // the third one
	number := 1
	frame := func(n int) string {
		number++
		return string(astm.AppendFrame(nil, number-1, []byte("H|\\^&\rC|1|"+strings.Repeat("x", n)), false))
	}
	for range 12 {
		a.say(frame(60000))
		a.expect(ack)
	}
	many := frame(60000)
	for range 5 {
		a.say(many)
		a.expect(ack)
		many = frame(60000)
	}
	number = 1
	b.say(frame(60000))
	b.expect(nak) // no room for both
	a.say(many)
	a.expect(nak)
	r.await(1)
	number = 1
	b.say(frame(60000))
	b.expect(ack) // that of the first one is free again
	b.Close()
	r.await(1)
	if got := r.kinds(); got != "reject too_large, reject truncated" || len(r.records()[0].Raw) != astm.MaxEvidence {
		t.Error(got)
	}
	if n := r.d.memory.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestLargeBatch has more wait than fits in a batch: everything is answered, and no batch is too large.
func TestLargeBatch(t *testing.T) {
	r := newRig(t, nil)
	first := r.call()
	r.hold.Lock()
	first.say(enq, strings.Join(frames(text("0")), ""))
	first.expect(strings.Repeat(ack, 5))
	var calls []*caller
	for i := range 5 {
		c := r.call()
		c.say(enq)
		c.expect(ack)
		c.say(string(astm.AppendFrame(nil, 1, []byte("H|\\^&\rC|1|"+strings.Repeat("x", 60000)), false)))
		c.expect(ack)
		c.say(string(astm.AppendFrame(nil, 2, []byte("\rP|1|"+fmt.Sprint(i)+"\rR|1|A|1\rL|1\r"), true)))
		calls = append(calls, c)
	}
	time.Sleep(20 * time.Millisecond) // for all to wait; where one comes later, less is tested
	r.hold.Unlock()
	for _, c := range calls {
		c.expect(ack)
	}
	r.await(6)
	if r.mu.Lock(); r.most > 256<<10 || len(r.stored) != 6 {
		t.Errorf("batch of %d bytes, %d records", r.most, len(r.stored))
	}
	r.mu.Unlock()
}

// TestIdle closes a connection that says nothing, and none that waits for its answer.
func TestIdle(t *testing.T) {
	r := newRig(t, map[string]any{"idle": "50ms"})
	c := r.call()
	c.ends()
	if !strings.Contains(r.log.String(), "it said nothing for too long") {
		t.Error(r.log.String())
	}
}

// TestManyInstruments has several send at once; each one's messages stay in order.
func TestManyInstruments(t *testing.T) {
	r := newRig(t, nil)
	const instruments, messages = 8, 20
	done := make(chan struct{})
	for i := range instruments {
		c := r.call()
		go func() {
			for m := range messages {
				c.send(text(fmt.Sprintf("%d-%03d", i, m)))
			}
			done <- struct{}{}
		}()
	}
	for range instruments {
		<-done
	}
	r.await(instruments * messages)
	last := map[string]string{}
	for _, p := range r.patients() {
		i, m, _ := strings.Cut(p, "-")
		if m <= last[i] {
			t.Fatalf("instrument %s: %s after %s", i, m, last[i])
		}
		last[i] = m
	}
	if len(r.ids()) != instruments*messages {
		t.Errorf("%d ids", len(r.ids()))
	}
}

// TestUnreadable keeps whole what was acknowledged and cannot be read.
func TestUnreadable(t *testing.T) {
	r := newRig(t, nil)
	c := r.call()
	many := "H|\\^&\r" + strings.Repeat("R|1|A|1\r", astm.MaxResults+1) + "L|1|N\r"
	c.say(enq)
	c.expect(ack)
	c.say(string(astm.AppendFrame(nil, 1, []byte(many), true)))
	c.expect(ack)
	c.say(eot)
	c.send("P|1|" + secret + "\rL|1|N\r")
	r.await(2)
	if got := r.kinds(); got != "reject too_large, reject noise" || string(r.records()[0].Raw) != many {
		t.Error(got)
	}
}

func TestSettings(t *testing.T) {
	for name, settings := range map[string]map[string]any{
		"code_page": {"code_page": "klingon"}, "allow": {"allow": []string{"here"}}, "max_memory_mb": {"max_message_mb": 20, "max_memory_mb": 10},
		"listen://": {"port": "listen://nowhere"}, "tcp://": {"port": "tcp://nowhere"},
	} {
		if err := openWith(t, settings); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
