package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk/sim"
)

// Ways in which an instrument misbehaves. Each message is there whole in the end.
const (
	noise   = "noise"   // junk before the message
	split   = "split"   // the message in pieces
	cut     = "cut"     // a part of the message, then the connection is closed; the whole one on the next
	control = "control" // under the control id of the message before
	silence = "silence" // nothing for a while in the middle of the message
)

const (
	firstPause   = 100 * time.Millisecond // before a message is sent again; doubled up to the caller's longest
	longestPause = 5 * time.Second
	mostRefused  = 5 // answers AR after which a message is parked
	junk         = 40
	piecePause   = time.Millisecond
)

// errCut ends a connection in the middle of a message.
var errCut = errors.New("cut on purpose")

// call is a message that waits for its answer.
type call struct {
	n       int
	id      string // MSH-10
	frame   string
	way     string // in which it misbehaves the first time
	tries   int
	refused int // with AR
}

// caller is an instrument's end of a line, with one message in flight. It follows the rules of a sender: a reply counts only
// if its MSA-2 is the control id that was just sent; without one the connection is closed before the message is sent
// again, or the late reply would confirm the wrong message (HL7 v2.5.1, 2.9.2).
type caller struct {
	plan    *plan
	dial    func(ctx context.Context) (sim.Conn, error)
	timeout time.Duration // for a reply
	quiet   time.Duration // of silence
	longest time.Duration // pause before a message is sent again
	seed    uint64        // of the next line
	line    int           // of several, from 1; 0 is the only one
	now     *call         // nil between two messages
}

// run plays connection after connection until no message is left.
func (c *caller) run(ctx context.Context) error {
	for {
		if err := c.take(ctx); c.now == nil {
			return err
		}
		if c.now.tries > 0 {
			if err := wait(ctx, c.pause()); err != nil {
				return err
			}
		}
		conn, err := c.dial(ctx)
		if err != nil {
			return err
		}
		err = sim.Play(ctx, conn, sim.Options{Seed: c.seed, Patience: c.timeout}, func(l *sim.Line) { c.play(ctx, l) })
		c.seed++
		_ = conn.Close() // what was not answered is sent again
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && c.now == nil: // the line did not fail: the output did
			return err
		case err != nil:
			c.now.tries++
		}
	}
}

// take gives the caller its next message, unless it has one. It has none where there are no more.
func (c *caller) take(ctx context.Context) (err error) {
	if c.now == nil {
		c.now, err = c.plan.next(ctx)
	}
	return err
}

// pause is the time before the message is sent again.
func (c *caller) pause() time.Duration { return min(firstPause<<min(c.now.tries-1, 10), c.longest) }

// play sends message after message on one line.
func (c *caller) play(ctx context.Context, l *sim.Line) {
	for !l.Failed() {
		if err := c.take(ctx); c.now == nil {
			l.Fail(err)
			return
		}
		code := c.once(l)
		switch {
		case l.Failed():
		case code.OK():
			l.Fail(c.plan.acknowledged(c.now, c.line))
			c.now = nil
		default:
			c.refused(l, code)
		}
	}
}

// refused goes on after a negative reply: what is wrong with the message stays wrong, want of room passes.
func (c *caller) refused(l *sim.Line, code hl7.AckCode) {
	c.plan.negative()
	if code == hl7.AR {
		c.now.refused++
	}
	if code == hl7.AE || code == hl7.CR || c.now.refused >= mostRefused {
		c.plan.parked()
		c.now = nil
		return
	}
	c.now.tries++
	l.Wait(c.pause())
}

// once sends the message once, and gives the code of its reply.
func (c *caller) once(l *sim.Line) (code hl7.AckCode) {
	if c.now.tries > 0 {
		c.plan.resent()
		c.now.way = ""
	}
	began := time.Now()
	c.say(l)
	for !l.Failed() {
		if code, id := replyIn(l.Until(fs)); code != "" && (id == c.now.id || id == "") {
			c.plan.answered(time.Since(began))
			return code
		}
	}
	return ""
}

func (c *caller) say(l *sim.Line) {
	frame := c.now.frame
	switch c.now.way {
	case noise:
		l.Noise(junk)
	case split:
		l.Split(frame, piecePause)
		return
	case cut:
		l.Cut(frame)
		l.Fail(errCut)
		return
	case silence:
		l.Say(frame[:len(frame)/2])
		l.Silence(c.quiet)
		frame = frame[len(frame)/2:]
	}
	l.Say(frame)
}

// replyIn is what a frame says, up to its FS: the code, and the control id that it is for. A reply at commit level is for
// whatever was sent last (MLLP Release 2, 3.2). Anything else has no code.
func replyIn(frame string) (code hl7.AckCode, id string) {
	_, text, ok := strings.Cut(strings.TrimSuffix(frame, fs), vt)
	switch {
	case !ok:
		return "", ""
	case text == ack:
		return hl7.CA, ""
	case text == nak:
		return hl7.CE, ""
	}
	r, err := hl7.ParseReply([]byte(text))
	if err != nil {
		return "", ""
	}
	return r.Code, r.ID
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
