package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	ownBuffer   = 8 << 10  // bytes that each connection may hold without asking the budget
	shortRead   = 4 << 10  // bytes of a read
	longRead    = 64 << 10 // and in a message that is longer than ownBuffer
	mostNoise   = 64 << 10 // bytes without a message, after which the peer does not speak MLLP
	mostAtOnce  = 64       // messages of an exchange
	noiseInHand = 4 << 10  // bytes of noise in one reject
)

// Why a connection is closed from here.
var (
	errSlow      = errors.New("a message was not at its end in message_timeout")
	errIdle      = errors.New("no message within idle_timeout")
	errNotMLLP   = errors.New("the peer does not speak MLLP")
	errNotStored = errors.New("the host could not store a message")
)

// conversation is one connection: what came, and what has to be answered. It belongs to one goroutine.
type conversation struct {
	s       *session
	conn    net.Conn           // for deadlines
	rw      io.ReadWriteCloser // the same, as the session's capture sees it
	peer    netip.Addr
	scanner hl7.Scanner
	buffer  []byte      // of a read
	charged int         // bytes that the budget has given
	begun   time.Time   // of the open message; zero between messages
	limited bool        // reads have a deadline
	told    []*exchange // answered, and nothing was heard since
	x       *exchange   // not answered yet, or nil
	out     []byte      // answers, for the next ones to use
	noise   []byte      // outside of messages, not handed over yet
	noises  int64       // bytes outside of messages since the last one
}

// run reads and answers until the peer has ended, or the connection cannot go on.
func (c *conversation) run(ctx context.Context) error {
	c.buffer = make([]byte, shortRead)
	for {
		if err := c.setLimit(); err != nil {
			return err
		}
		n, err := c.rw.Read(c.buffer)
		if n > 0 || errors.Is(err, io.EOF) {
			c.heard()
		}
		if n > 0 {
			read := c.buffer[:n] // charge may make the buffer anew
			if err := c.charge(ctx, n); err != nil {
				return err
			}
			c.scanner.Write(read)
			if err := c.take(ctx); err != nil {
				return err
			}
			c.release()
		}
		if err != nil {
			return c.end(ctx, err)
		}
	}
}

// heard marks what was answered: the peer goes on, or ends well, so it has the answers.
func (c *conversation) heard() {
	for _, x := range c.told {
		x.heard.Store(true)
	}
	c.told = c.told[:0]
}

// setLimit sets the deadline of the next read: an open message must come to its end, and a connection may be idle for a time.
func (c *conversation) setLimit() error {
	var end time.Time
	switch {
	case !c.scanner.Open():
		c.begun = time.Time{}
		if idle := c.s.d.IdleTime; idle > 0 {
			end = time.Now().Add(idle)
		}
	case c.begun.IsZero():
		c.begun = time.Now()
		end = c.begun.Add(c.s.d.MessageTime)
	default:
		return nil // its deadline is set
	}
	if end.IsZero() && !c.limited {
		return nil
	}
	c.limited = !end.IsZero()
	return c.s.readBy(c.conn, end)
}

// charge asks the budget for what the scanner will hold with n bytes more, in steps of two. What waits is the peer, until
// its message has lasted too long.
func (c *conversation) charge(ctx context.Context, n int) error {
	want := c.scanner.Buffered() + n
	if want <= max(ownBuffer, c.charged) {
		return nil
	}
	want = min(1<<bits.Len(uint(want-1)), c.scanner.Max+longRead, c.s.d.MemoryMB<<20)
	ctx, cancel := context.WithTimeout(ctx, c.s.d.MessageTime)
	defer cancel()
	if err := c.s.budget.take(ctx, c.charged, want-c.charged); err != nil {
		c.s.notices.warn("a connection was closed: "+errNoMemory.Error(), "peer", c.peer.String(), "bytes", want)
		return fmt.Errorf("wait for memory: %w", err)
	}
	c.charged = want
	if len(c.buffer) < longRead {
		c.buffer = make([]byte, longRead)
	}
	return nil
}

// release gives the memory of long messages back, when none is open.
func (c *conversation) release() {
	if c.charged == 0 || c.scanner.Open() || c.scanner.Buffered() > 0 {
		return
	}
	c.scanner = hl7.Scanner{Max: c.scanner.Max}
	c.buffer = make([]byte, shortRead)
	c.s.budget.give(c.charged)
	c.charged = 0
}

// take hands over what the scanner has found, and answers it.
func (c *conversation) take(ctx context.Context) error {
	for {
		p, ok := c.scanner.Next()
		if !ok {
			return c.finish(ctx)
		}
		if p.Kind != hl7.Noise {
			c.flushNoise()
			c.noises = 0
		}
		if !c.scanner.Open() { // what is open behind it has a time of its own
			c.begun = time.Time{}
		}
		switch p.Kind {
		case hl7.Frame:
			if err := c.frame(ctx, p.Data); err != nil {
				return err
			}
		case hl7.Noise:
			c.addNoise(p.Data)
		case hl7.Truncated:
			c.add(c.s.reject(exam.Reject{Reason: exam.RejectTruncated, Length: p.Length, Detail: "no FS CR behind the message"}, p.Data), silent)
		case hl7.TooLarge:
			c.add(c.s.reject(exam.Reject{Reason: exam.RejectTooLarge, Length: p.Length, Detail: "longer than max_message_kb"}, p.Data), c.s.tooLarge(c.peer, p.Data))
		case hl7.CommitAck, hl7.CommitNak: // of our application reply
		}
		if c.noises > mostNoise {
			c.flushNoise()
			return errors.Join(c.finish(ctx), errNotMLLP)
		}
		if err := c.full(ctx); err != nil {
			return err
		}
	}
}

// frame hands over the message of a frame, or the messages of a batch.
func (c *conversation) frame(ctx context.Context, b []byte) error {
	m, r, err := c.s.read(c.peer, b)
	if !errors.Is(err, hl7.ErrBatch) {
		c.add(m, r)
		return nil
	}
	empty := true
	for one := range hl7.Messages(b) {
		empty = false
		m, r, err := c.s.read(c.peer, one)
		if err != nil {
			return err // Messages gives no batches
		}
		c.add(m, r)
		if err := c.full(ctx); err != nil {
			return err
		}
	}
	if empty {
		c.add(c.s.reject(exam.Reject{Reason: exam.RejectEmpty, Length: int64(len(b)), Detail: "a batch without a message"}, b), reply{source: c.s.d.source(c.peer, "", ""), code: hl7.AR, text: "batch is empty"})
	}
	return nil
}

// add hands a message over, and remembers how it is answered; m may be nil, where nothing is stored.
func (c *conversation) add(m *message, r reply) {
	if m == nil {
		return
	}
	if c.x == nil {
		c.x = &exchange{}
	}
	m.by, m.reply = c.x, r
	c.x.messages = append(c.x.messages, m)
	if m.verdict == nil {
		m.verdict = make(chan sdk.Reason, 1)
		c.s.submit(m)
	}
}

// full answers what there is, where it is much.
func (c *conversation) full(ctx context.Context) error {
	if c.x == nil || len(c.x.messages) < mostAtOnce {
		return nil
	}
	return c.finish(ctx)
}

// finish waits for the verdicts of the exchange, and answers in the order in which the messages came. An error ends the
// connection: a message was not stored, and its sender is to repeat it.
func (c *conversation) finish(ctx context.Context) (err error) {
	if c.x == nil {
		return nil
	}
	out := c.out[:0]
	for _, m := range c.x.messages {
		v, ok := m.await(ctx)
		if !ok {
			err = ctx.Err()
			break
		}
		m.discard(c.s.env.StagingDir)
		if err != nil {
			continue // behind one that is to be repeated
		}
		var more bool
		if out, more = m.reply.append(out, v, c.s); !more {
			err = errNotStored
		}
	}
	c.out = out
	c.x.messages = nil // the memory has the exchange for longer
	c.told, c.x = append(c.told, c.x), nil
	if len(out) > 0 {
		err = errors.Join(err, c.write(out))
	}
	return err
}

// await is the message's verdict; false where the session ends without one.
func (m *message) await(ctx context.Context) (v sdk.Reason, ok bool) {
	select {
	case v = <-m.verdict:
		return v, true
	case <-ctx.Done():
	}
	select {
	case v = <-m.verdict: // it came before the end
		return v, true
	default:
		return "", false
	}
}

func (c *conversation) write(out []byte) error {
	if err := c.s.writeSoon(c.conn); err != nil {
		return err
	}
	_, err := c.rw.Write(out)
	return err
}

// addNoise keeps what stands outside of messages, in pieces: behind a stray FS it is the rest of a message that was answered.
// Blanks and line ends alone are none.
func (c *conversation) addNoise(b []byte) {
	blank := true
	for _, x := range b {
		blank = blank && (x == '\r' || x == '\n' || x == ' ' || x == 0)
	}
	if blank && c.noises == 0 {
		return
	}
	if len(c.noise)+len(b) > noiseInHand {
		c.flushNoise()
	}
	c.noises += int64(len(b))
	c.noise = append(c.noise, b...)
}

// flushNoise hands over what stood outside of messages; nobody waits for an answer.
func (c *conversation) flushNoise() {
	if len(c.noise) == 0 {
		return
	}
	c.add(c.s.reject(exam.Reject{Reason: exam.RejectNoise, Length: int64(len(c.noise)), Detail: "bytes outside of messages"}, c.noise), silent)
	c.noise = nil
}

// end takes what is left when nothing more can be read: a message without its end, noise. It is nil where the peer has
// ended between two messages.
func (c *conversation) end(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		return nil // the device is closed: what is not at its end comes again
	}
	if errors.Is(why, os.ErrDeadlineExceeded) {
		if why = errIdle; c.scanner.Open() {
			why = errSlow
			c.s.notices.warn("a connection was closed: "+errSlow.Error(), "peer", c.peer.String())
		}
	}
	c.scanner.Close()
	err := c.take(ctx)
	c.flushNoise()
	err = errors.Join(err, c.finish(ctx))
	if !errors.Is(why, io.EOF) {
		err = errors.Join(why, err)
	}
	return err
}
