package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk/sim"
)

// What the two ends say besides frames.
const (
	enq, ack, nak, eot = "\x05", "\x06", "\x15", "\x04"
	tries              = 6 // of a frame (E1381 section 6.5.1.2)
	callPause          = 50 * time.Millisecond
	hearPause          = 20 * time.Millisecond
)

// analyser is a simulated instrument.
type analyser struct {
	o     options
	place *place
	out   io.Writer // is told what the driver has sent
	large int       // bytes of a comment in the message; 0 is none

	sent, acknowledged, frames, again int
	latency                           []time.Duration // from the last frame to its ACK
	began                             time.Time
}

// patient is the id of an invented person.
func patient(n int) string { return fmt.Sprintf("K-%06d", n) }

// message makes message n.
func (a *analyser) message(n int) []byte {
	random := rand.New(rand.NewPCG(a.o.seed, uint64(n)))
	at := time.Date(2025, 3, 14, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Minute)
	stamp := at.Format("20060102150405")
	id := patient(n)
	if !a.o.numbered {
		id = fmt.Sprintf("S-%06d", random.IntN(1_000_000))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "H|\\^&|%d||SYNTHLAB^A1^1.0|||||||P|LIS2-A2|%s\r", n, stamp)
	fmt.Fprintf(&b, "P|1|%s|||Invented^Probe||19700101|%s\r", id, []string{"F", "M"}[random.IntN(2)])
	fmt.Fprintf(&b, "O|1|SPEC-%04d||^^^PANEL|R||%s\r", n%10000, stamp)
	if a.large > 0 {
		fmt.Fprintf(&b, "C|1|I|%s|G\r", strings.Repeat("x", a.large))
	}
	for r := range a.o.results {
		fmt.Fprintf(&b, "R|%d|^^^T%d|%.1f|mmol/L|1.0^9.0|N||F||||%s|A1\r", r+1, r+1, 1+float64(random.IntN(80))/10, stamp)
	}
	b.WriteString("L|1|N\r")
	return b.Bytes()
}

// framed cuts a message into frames as the way has it.
func framed(message []byte, way string) (list []string) {
	most := astm.MaxText
	if len(message) > 1<<20 {
		most = astm.MaxLongText
	}
	switch way {
	case allInOne:
		return []string{string(astm.AppendFrame(nil, 1, slices.Concat(message, []byte("\r")), true))}
	case etb:
		for n := 1; len(message) > 0; n++ {
			part := message[:min(len(message), most)]
			message = message[len(part):]
			list = append(list, string(astm.AppendFrame(nil, n, part, len(message) == 0)))
		}
		return list
	}
	for _, f := range astm.Frames(message, most) {
		if way == noChecksum {
			f = append(f[:len(f)-4], '\r', '\n')
		}
		list = append(list, string(f))
	}
	return list
}

// deliver sends message n again and again until it is acknowledged, over as many connections as that takes.
func (a *analyser) deliver(ctx context.Context, n int, way string) error {
	frames := framed(a.message(n), way)
	if a.began.IsZero() {
		a.began = time.Now()
	}
	a.sent++
	for try := 0; ; try++ {
		if try > 0 {
			way = "" // it misbehaves once
			a.again++
		}
		conn, err := a.place.line(ctx)
		if err != nil {
			return err
		}
		done := false
		err = sim.Play(ctx, conn, sim.Options{Seed: a.o.seed + uint64(n), Patience: a.o.timeout}, func(l *sim.Line) {
			if a.place.stays && try > 0 {
				l.Say(eot)
				l.Silence(50 * time.Millisecond) // an answer that comes late is not that to the next ENQ
			}
			done = a.transfer(l, frames, way)
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case done && err == nil:
			a.acknowledged++
			return nil
		case err != nil || way == cut:
			a.place.hangUp()
			if err := pause(ctx, callPause); err != nil {
				return err
			}
		default:
			if err := pause(ctx, a.o.busyWait); err != nil {
				return err
			}
		}
	}
}

// transfer is one try of a message, and says whether it was acknowledged.
func (a *analyser) transfer(l *sim.Line, frames []string, way string) bool {
	if !a.ask(l, way) {
		return false
	}
	for i, f := range frames {
		last := i == len(frames)-1
		switch {
		case way == noise:
			l.Noise(3)
		case way == checksum && i == len(frames)/2:
			l.Spoil(f)
			l.Expect(nak)
		case (way == cut || way == silence) && i == len(frames)/2:
			if l.Cut(f); way == silence {
				l.Silence(a.o.silentFor)
			}
			return false
		}
		begin := time.Now()
		said, ok := a.say(l, f, way)
		if !ok {
			l.Say(eot)
			return false
		}
		a.frames++
		if last {
			a.latency = append(a.latency, time.Since(begin))
		} else if said == eot { // they want the line: all begins again
			l.Say(eot)
			return false
		}
	}
	l.Say(eot)
	return !l.Failed()
}

// say sends a frame up to six times.
func (a *analyser) say(l *sim.Line, frame, way string) (said string, ok bool) {
	for range tries {
		if way == split {
			l.Split(frame, time.Millisecond)
		} else {
			l.Say(frame)
		}
		if said = l.Expect(ack, nak, eot); said != nak {
			return said, !l.Failed()
		}
	}
	return said, false
}

// ask asks for the line, and waits where the other end is busy or has asked at the same time.
func (a *analyser) ask(l *sim.Line, way string) bool {
	if way == noise {
		l.Noise(5)
	}
	if way == contention {
		l.Say(enq)
		l.Expect(ack)
		l.Wait(astm.InstrumentTime)
	}
	for !l.Failed() {
		l.Say(enq)
		switch l.Expect(ack, nak, enq) {
		case ack:
			return true
		case nak:
			l.Wait(a.o.busyWait)
		case enq: // the instrument goes first (E1381 section 6.2.7)
			l.Wait(astm.InstrumentTime)
		}
	}
	return false
}

// listenFor takes what the driver sends for d, and to its end what has begun by then. It notes the end of the connection.
func (a *analyser) listenFor(ctx context.Context, d time.Duration) error {
	link := astm.NewLink(astm.LinkOptions{Instrument: true})
	for end := time.Now().Add(d); time.Now().Before(end) || !link.Deadline().IsZero(); {
		if err := pause(ctx, 0); err != nil {
			return err
		}
		if a.place.conn == nil {
			return pause(ctx, max(time.Until(end), 0))
		}
		if err := a.hear(link); err != nil {
			a.place.hangUp() // the driver has gone, and another one will come
			if err := pause(ctx, callPause); err != nil {
				return err
			}
		}
	}
	return pause(ctx, 0)
}

// hear takes what comes within a moment, and answers.
func (a *analyser) hear(link *astm.Link) error {
	conn, b := a.place.conn, make([]byte, 4<<10)
	if err := conn.SetDeadline(time.Now().Add(hearPause)); err != nil {
		return err
	}
	n, err := conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	now := time.Now()
	link.Receive(now, b[:n])
	link.Tick(now)
	if err := conn.SetDeadline(now.Add(a.o.timeout)); err != nil {
		return err
	}
	for list := link.Take(); len(list) > 0; list = link.Take() {
		for _, act := range list {
			switch act.Kind {
			case astm.ActionWrite:
				_, err = conn.Write(act.Data)
			case astm.ActionDeliver:
				_, err = fmt.Fprintf(a.out, "received a message of %d bytes\n", len(act.Data))
				link.Safe(now)
			default:
				continue
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// report says what was sent and how it was answered.
func (a *analyser) report(out io.Writer) error {
	slices.Sort(a.latency)
	at := func(part float64) time.Duration {
		if len(a.latency) == 0 {
			return 0
		}
		return a.latency[int(part*float64(len(a.latency)-1))].Round(time.Microsecond)
	}
	took := time.Since(a.began).Seconds()
	_, err := fmt.Fprintf(out, "sent %d, acknowledged %d, sent again %d, frames %d (%.0f/s), latency of the last frame p50 %v p99 %v max %v\n",
		a.sent, a.acknowledged, a.again, a.frames, float64(a.frames)/max(took, 1e-9), at(0.5), at(0.99), at(1))
	return err
}
