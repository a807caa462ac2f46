package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
)

// deafTime is how long a line is read that cannot be written: its end has not been noticed, or it says why it ended.
const deafTime = time.Second

var errIdle = errors.New("it said nothing for too long")

// conn is the line of one instrument. Its goroutine has all of it, but for answers.
type conn struct {
	d       *device
	wire    io.Writer
	link    *astm.Link
	peer    string // address, empty of a line: then its end is the device's
	chunks  chan []byte
	end     error         // why reading ended; set before chunks is closed
	done    chan struct{} // closed when run has ended
	answers chan verdict
	last    string    // key of the message that was answered last
	came    time.Time // when something came
	deaf    error     // why nothing can be written
	ended   bool      // nothing comes any more
	box     *outbox   // what is to be sent; nil is nothing
}

// verdict is what the host says to a message.
type verdict struct {
	safe bool
	key  string
}

// serve starts the goroutines of a line, which gives what comes by next.
func (d *device) serve(wire io.Writer, next func(ctx context.Context) ([]byte, error), peer string) *conn {
	c := &conn{d: d, wire: wire, peer: peer, chunks: make(chan []byte, 4), done: make(chan struct{}), answers: make(chan verdict, 1), came: time.Now()}
	c.box = d.newOutbox(peer)
	c.link = astm.NewLink(astm.LinkOptions{
		MaxMessage: d.MaxMessageMB << 20, NeedSum: d.Checksum == "required",
		Grow: func(n int) bool {
			if d.memory.Add(int64(n)) > int64(d.MaxMemoryMB)<<20 && n > 0 {
				d.memory.Add(int64(-n))
				return false
			}
			return true
		},
	})
	d.env.Go(func(ctx context.Context) error {
		defer close(c.chunks)
		for {
			b, err := next(ctx)
			if len(b) > 0 {
				select {
				case c.chunks <- b:
				case <-c.done:
					return nil
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			if err != nil {
				c.end = err
				return nil //nolint:nilerr // run says it
			}
		}
	})
	return c
}

// answer brings the host's verdict. At most one message of a connection waits for one.
func (c *conn) answer(safe bool, key string) { c.answers <- verdict{safe, key} }

// run plays the link until the line ends and nothing waits for an answer.
func (c *conn) run(ctx context.Context) error {
	defer close(c.done)
	defer c.d.release(c.box)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	chunks := c.chunks
	for !c.ended || c.link.Pending() {
		in := chunks
		if c.link.Full() {
			in = nil
		}
		timer.Reset(c.wait(time.Now()))
		select {
		case b, more := <-in:
			now := time.Now()
			if !more {
				chunks, c.ended = nil, true
				if !c.link.Pending() { // else the answer comes first: it may be half a close
					c.link.Lost(now)
				}
				break
			}
			c.came = now
			c.link.SetBusy(c.d.isBusy(now))
			c.link.Receive(now, b)
		case v := <-c.answers:
			c.last = v.key
			if v.safe {
				c.link.Safe(time.Now())
			} else {
				c.link.NotSafe(time.Now())
			}
			if c.ended && !c.link.Pending() {
				c.link.Lost(time.Now())
			}
		case now := <-timer.C:
			if why := c.over(now); why != nil {
				return why
			}
			c.link.Tick(now)
			c.offer(now)
		case <-ctx.Done():
			return ctx.Err()
		}
		if !c.act(ctx) {
			return ctx.Err()
		}
	}
	return c.end
}

// wait is how long until something is due.
func (c *conn) wait(now time.Time) time.Duration {
	wait := time.Hour
	if due := c.link.Deadline(); !due.IsZero() {
		wait = due.Sub(now)
	}
	if most := c.quiet(); most > 0 && !c.link.Pending() {
		wait = min(wait, c.came.Add(most).Sub(now))
	}
	if c.sends() {
		wait = min(wait, c.box.due.Sub(now))
	}
	return max(wait, 0)
}

// sends says whether the line has an outbox, and can be written.
func (c *conn) sends() bool { return c.box != nil && c.deaf == nil && !c.ended }

// offer gives the link what is to be sent, when it is time to look.
func (c *conn) offer(now time.Time) {
	if !c.sends() || now.Before(c.box.due) {
		return
	}
	if message := c.box.look(now); message != nil {
		c.link.Send(now, message)
	}
}

// quiet is how long the instrument may say nothing; 0 is for ever.
func (c *conn) quiet() time.Duration {
	switch {
	case c.deaf != nil:
		return deafTime
	case c.peer != "":
		return c.d.Idle
	}
	return 0
}

// over says why the line is to end, where it is.
func (c *conn) over(now time.Time) error {
	switch most := c.quiet(); {
	case most == 0 || c.link.Pending() || now.Sub(c.came) < most:
		return nil
	case c.deaf != nil:
		return c.deaf
	}
	return errIdle
}

// act does what the link wants; false means that ctx has ended.
func (c *conn) act(ctx context.Context) bool {
	for _, a := range c.link.Take() {
		v := &delivery{message: a.Data, loose: a.Loose, warnings: a.Warnings, reject: a.Reject}
		switch a.Kind {
		case astm.ActionWrite:
			if c.deaf == nil {
				_, c.deaf = c.wire.Write(a.Data) // its reader hears the end, too
			}
			continue
		case astm.ActionHeard:
			c.d.heard(c.last)
			continue
		case astm.ActionSent, astm.ActionFailed:
			c.box.done(time.Now(), a.Err)
			continue
		case astm.ActionDeliver:
			v.conn = c
		case astm.ActionReject:
		default:
			continue
		}
		if !c.d.put(ctx, v) {
			return false
		}
	}
	return true
}
