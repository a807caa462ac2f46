package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// Conn is a line to a driver: a net.Conn, an end of net.Pipe, a PTY.
type Conn interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
}

// Script is what an instrument does on its line, step by step. A step that fails ends the script: the steps after it do
// nothing and hear "", and Play returns the failure. A loop that does not end at that asks Line.Failed.
type Script func(l *Line)

// Options of Play; the zero value will do.
type Options struct {
	// Seed decides all that is random; the same seed does the same again. 0 takes one from the clock. An error names it.
	Seed uint64
	// Patience is how long a step waits for the driver; 0 is 10 s.
	Patience time.Duration
	// Trace is told what is said and heard, with the seed in its first line; nil is nobody.
	Trace io.Writer
}

const (
	patience  = 10 * time.Second
	mostHeard = 16 << 20 // bytes that wait for Until
	shown     = 80       // bytes that an error shows
	atOnce    = 4096     // bytes of a read
)

// Line is an instrument's end of a line while Play plays its script. It is not for several goroutines at once.
type Line struct {
	ctx      context.Context // of Play, which the line does not outlive
	conn     Conn
	patience time.Duration
	trace    io.Writer
	show     func(b []byte) string
	rand     *rand.Rand
	heard    []byte // and not expected yet
	err      error
}

// Play plays the script on conn, and returns when it is over, when a step has failed, or when ctx ends. Conn stays open.
func Play(ctx context.Context, conn Conn, o Options, script Script) error {
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	l := &Line{ctx: ctx, conn: conn, patience: o.Patience, trace: o.Trace, show: show, rand: rand.New(rand.NewPCG(o.Seed, 0))}
	if l.patience == 0 {
		l.patience = patience
	}
	l.tell("seed", func() string { return fmt.Sprint(o.Seed) })
	g := life.NewGroup(ctx)
	g.Go("end of the play", func(ctx context.Context) error {
		<-ctx.Done()
		return conn.SetDeadline(time.Unix(1, 0)) // a step that waits for the driver ends
	})
	err := func() error {
		defer g.Cancel() // also where the script leaves by a test's FailNow
		script(l)
		return l.err
	}()
	err = errors.Join(err, g.Wait())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("play with seed %d: %w", o.Seed, err)
	}
	return conn.SetDeadline(time.Time{})
}

// Failed says whether a step has failed; nothing after it is done.
func (l *Line) Failed() bool { return l.err != nil }

// Fail ends the script with an error of its own.
func (l *Line) Fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// ready sets the step's deadline. It is false where the script is over.
func (l *Line) ready(wait time.Duration) bool {
	if l.err == nil {
		l.Fail(l.conn.SetDeadline(time.Now().Add(wait)))
	}
	if l.err == nil {
		l.Fail(l.ctx.Err()) // asked after the deadline was set, so that it cannot cover the one of the end
	}
	return l.err == nil
}

// Say sends the text as it is.
func (l *Line) Say(text string) {
	if text == "" || !l.ready(l.patience) {
		return
	}
	b := []byte(text)
	l.tell("says", func() string { return l.show(b) })
	if _, err := l.conn.Write(b); err != nil {
		l.Fail(fmt.Errorf("say %s: %w", l.show(b), err))
	}
}

// Expect hears exactly one of the texts, and returns it. Anything else is ErrUnexpected, and stays to be heard.
func (l *Line) Expect(texts ...string) string {
	for l.err == nil {
		text, open := l.fits(texts)
		if text != "" && !open {
			return l.take(len(text))
		}
		if text == "" && !open {
			l.Fail(fmt.Errorf("%w: expected %s, heard %s", ErrUnexpected, l.list(texts), l.show(l.heard)))
		}
		l.hear(func() string { return "expect " + l.list(texts) })
	}
	return ""
}

// fits is the longest of the texts that was heard. Open says that one of them may still come, and none has.
func (l *Line) fits(texts []string) (text string, open bool) {
	for _, t := range texts {
		switch {
		case bytes.HasPrefix(l.heard, []byte(t)):
			if len(t) > len(text) {
				text = t
			}
		case strings.HasPrefix(t, string(l.heard)):
			open = true
		}
	}
	return text, open && text == ""
}

// Until hears everything up to one of the ends, whichever comes first, and returns it with that end; 16 MiB at most.
func (l *Line) Until(ends ...string) string {
	for l.err == nil {
		first := -1
		for _, end := range ends {
			if at := bytes.Index(l.heard, []byte(end)); at >= 0 && (first < 0 || at+len(end) < first) {
				first = at + len(end)
			}
		}
		if first >= 0 {
			return l.take(first)
		}
		if len(l.heard) > mostHeard {
			l.Fail(fmt.Errorf("%w: more than %d bytes without %s", ErrUnexpected, mostHeard, l.list(ends)))
		}
		l.hear(func() string { return "hear up to " + l.list(ends) })
	}
	return ""
}

// Wait lets time pass. What the driver says meanwhile is heard later.
func (l *Line) Wait(d time.Duration) {
	if l.err != nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
		l.Fail(l.ctx.Err())
	}
}

// Await waits until ready is closed or says something: the driver's test has seen what it waited for.
func (l *Line) Await(ready <-chan struct{}) {
	if l.err != nil {
		return
	}
	select {
	case <-ready:
	case <-l.ctx.Done():
		l.Fail(l.ctx.Err())
	}
}

// hear waits for more. What is the step, for the error.
func (l *Line) hear(what func() string) {
	if !l.ready(l.patience) {
		return
	}
	l.heard = slices.Grow(l.heard, atOnce)
	end := len(l.heard)
	n, err := l.conn.Read(l.heard[end : end+atOnce])
	l.heard = l.heard[:end+n]
	if n == 0 && err != nil {
		l.Fail(fmt.Errorf("%s, heard %s: %w", what(), l.show(l.heard), err))
	}
}

// take gives the first n bytes that were heard, and forgets them.
func (l *Line) take(n int) string {
	text := string(l.heard[:n])
	l.heard = append(l.heard[:0], l.heard[n:]...)
	l.tell("hears", func() string { return l.show([]byte(text)) })
	return text
}

// tell writes a line of the trace. The text is made where somebody is told.
func (l *Line) tell(what string, text func() string) {
	if l.trace == nil {
		return
	}
	if _, err := fmt.Fprintf(l.trace, "%s %s\n", what, text()); err != nil {
		l.Fail(fmt.Errorf("write trace: %w", err))
	}
}

func (l *Line) list(texts []string) string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = l.show([]byte(t))
	}
	return strings.Join(list, " or ")
}

// show is how bytes are told to a person.
func show(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	if len(b) > shown {
		return fmt.Sprintf("%q and %d bytes more", b[:shown], len(b)-shown)
	}
	return fmt.Sprintf("%q", b)
}
