package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/line"
)

// bed is an analyser on a pipe, whose far end is the device with an outbox.
type bed struct {
	*rig
	dir   string
	far   net.Conn
	heard chan byte
}

// inBubble opens a device on a pipe, at a time of its own.
func inBubble(t *testing.T, f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{dir: t.TempDir()}
		b.rig = &rig{t: t, settings: map[string]any{"port": "pipe", "outbox": b.dir}, came: make(chan struct{}, 100)}
		b.dial = func(_ context.Context, env sdk.Env, _ line.Settings, _ line.Mode) (*line.Port, error) {
			near, far := net.Pipe()
			heard := make(chan byte, 1<<16)
			b.far, b.heard = far, heard
			env.Go(func(context.Context) error {
				for c := make([]byte, 1); ; heard <- c[0] {
					if _, err := far.Read(c); err != nil {
						return nil //nolint:nilerr // the line has ended
					}
				}
			})
			return line.On(env, near), nil
		}
		b.open()
		f(b)
		b.kill()
		if log := b.log.String(); strings.Contains(log, secret) || strings.Contains(log, ".astm") {
			t.Errorf("a patient is in the log, or a file's name, which may be one:\n%s", log)
		}
	})
}

// order writes the file of a message for the analyser, and gives the message.
func (b *bed) order(name, specimen string) string {
	b.t.Helper()
	records := []string{"H|\\^&|||HOSTD", "P|1|" + secret + "|||" + secret, "O|1|" + specimen + "||^^^GLU", "L|1|N"}
	b.file(name, strings.Join(records, "\r\n"))
	return strings.Join(records, "\r") + "\r"
}

func (b *bed) file(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// files are those of the outbox and below, in order.
func (b *bed) files() string {
	b.t.Helper()
	var list []string
	err := filepath.WalkDir(b.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			path, err = filepath.Rel(b.dir, path)
			list = append(list, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// said is what the device says within the time.
func (b *bed) said(within time.Duration) string {
	b.t.Helper()
	time.Sleep(within)
	synctest.Wait()
	var text []byte
	for len(b.heard) > 0 {
		text = append(text, <-b.heard)
	}
	return string(text)
}

// steps has the analyser say something, and the device say exactly what comes of it within the time.
func (b *bed) steps(list ...step) {
	b.t.Helper()
	for i, s := range list {
		if s.say != "" {
			if _, err := b.far.Write([]byte(s.say)); err != nil {
				b.t.Fatal(err)
			}
		}
		if got := b.said(s.within); got != s.want {
			b.t.Fatalf("step %d, %q: %q within %v, want %q\n%s", i, s.say, got, s.within, s.want, b.log.String())
		}
	}
}

type step struct {
	say    string
	within time.Duration
	want   string
}

// takes has the analyser take a message, up to its last frame.
func (b *bed) takes(message string) {
	b.t.Helper()
	for _, f := range frames(message) {
		b.steps(step{ack, time.Millisecond, f})
	}
}

// is holds which files are where.
func (b *bed) is(want string) {
	b.t.Helper()
	if got := b.files(); got != want {
		b.t.Fatalf("%s, want %s\n%s", got, want, b.log.String())
	}
}

// tells holds how often the log says something.
func (b *bed) tells(what string, times int) {
	b.t.Helper()
	if n := strings.Count(b.log.String(), what); n != times {
		b.t.Errorf("%q is told %d times, want %d:\n%s", what, n, times, b.log.String())
	}
}

// TestOutbox sends each file once, in the order of their names, and moves it when its last frame was acknowledged.
func TestOutbox(t *testing.T) {
	inBubble(t, func(b *bed) {
		second, first := b.order("b.ASTM", "2"), b.order("a.astm", "1")
		b.file("c.tmp", "H|")
		b.steps(step{"", time.Second, enq})
		b.takes(first)
		b.is("a.astm b.ASTM c.tmp")
		b.steps(step{ack, time.Millisecond, eot})
		b.is("b.ASTM c.tmp sent/a.astm")
		b.steps(step{"", time.Second, enq})
		b.takes(second)
		b.steps(step{ack, time.Hour, eot})
		b.is("c.tmp sent/a.astm sent/b.ASTM")
		b.tells("was sent", 2)
	})
}

// TestOutboxRefused has an analyser refuse a frame six times, and what is no message: both go to failed, and the next is sent.
func TestOutboxRefused(t *testing.T) {
	inBubble(t, func(b *bed) {
		for name, text := range map[string]string{
			"0": "", "1": "H|\\^&\rO|1|" + secret + "\r", "2": "O|1\rL|1\r", "3": "H|\\^&\rL|1\rH|\\^&\rL|1\r", "4": "H|\\^&\rC|1|\x04\rL|1\r",
			"5": "H|\\^&\rC|1|" + strings.Repeat("x", maxOutgoing) + "\rL|1\r",
		} {
			b.file(name+".astm", text)
		}
		first, second := b.order("a.astm", "1"), b.order("b.astm", "2")
		f := frames(first)[0]
		b.steps(step{"", time.Second, enq}, step{ack, time.Millisecond, f})
		for range 5 {
			b.steps(step{nak, time.Millisecond, f})
		}
		b.is("a.astm b.astm failed/0.astm failed/1.astm failed/2.astm failed/3.astm failed/4.astm failed/5.astm")
		b.steps(step{nak, time.Millisecond, eot}, step{"", time.Second, enq})
		b.takes(second)
		b.steps(step{ack, time.Hour, eot})
		b.is("failed/0.astm failed/1.astm failed/2.astm failed/3.astm failed/4.astm failed/5.astm failed/a.astm sent/b.astm")
		b.tells("not one message", 4)
		b.tells("control character", 1)
		b.tells("more than", 1)
		b.tells("none of six tries", 1)
	})
}

// TestOutboxContention has both ask for the line: the analyser goes first, and its message is stored, then ours goes.
func TestOutboxContention(t *testing.T) {
	inBubble(t, func(b *bed) {
		message := b.order("a.astm", "1")
		b.steps(step{"", time.Second, enq}, step{enq, time.Second, ""}, step{enq, time.Millisecond, ack})
		for _, f := range frames(text("1")) {
			b.steps(step{f, time.Millisecond, ack})
		}
		b.steps(step{eot, 18 * time.Second, ""}, step{"", time.Second, enq})
		b.takes(message)
		b.steps(step{ack, time.Millisecond, eot})
		b.is("sent/a.astm")
		if got := b.patients(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("stored %v", got)
		}
	})
}

// TestOutboxWaits has an analyser that is off, then busy, then gone in the middle of a message: the message waits, which is told
// once, and is sent when the analyser takes it.
func TestOutboxWaits(t *testing.T) {
	inBubble(t, func(b *bed) {
		message := b.order("a.astm", "1")
		b.steps(step{"", time.Second, enq}, step{"", 15 * time.Second, eot}, step{"", 29 * time.Second, ""}, step{"", time.Second, enq})
		for range 5 {
			b.steps(step{nak, 10 * time.Second, enq})
		}
		b.steps(step{nak, 29 * time.Second, ""}, step{"", time.Second, enq}, step{ack, time.Millisecond, frames(message)[0]})
		if err := b.far.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.is("a.astm")
		b.tells("waits in the outbox", 1)
		b.kill()
		b.open()
		b.steps(step{"", time.Second, enq})
		b.takes(message)
		b.steps(step{ack, time.Hour, eot})
		b.is("sent/a.astm")
	})
}

// TestOutboxIsSentTwice has the driver end behind the last frame, before the file was moved, and then be unable to move it: the
// first is sent once more, the second not, and nothing is sent behind it until it is moved.
func TestOutboxIsSentTwice(t *testing.T) {
	inBubble(t, func(b *bed) {
		message := b.order("a.astm", "1")
		b.steps(step{"", time.Second, enq})
		b.takes(message)
		b.kill()
		b.open()
		b.steps(step{"", time.Second, enq})
		b.takes(message)
		b.file("sent", "so that there can be no such folder")
		b.steps(step{ack, time.Minute, eot})
		b.is("a.astm sent")
		b.tells("cannot be moved", 1)
		next := b.order("b.astm", "2")
		b.steps(step{"", time.Minute, ""})
		if err := os.Remove(filepath.Join(b.dir, "sent")); err != nil {
			t.Fatal(err)
		}
		b.steps(step{"", time.Second, enq})
		b.takes(next)
		if err := os.Remove(filepath.Join(b.dir, "b.astm")); err != nil { // somebody takes it away meanwhile
			t.Fatal(err)
		}
		b.steps(step{ack, time.Hour, eot})
		b.is("sent/a.astm")
		b.tells("cannot be moved", 1)
	})
}

// TestOutboxIsGone takes what comes while there is no folder, says so once, and sends when it is back.
func TestOutboxIsGone(t *testing.T) {
	inBubble(t, func(b *bed) {
		if err := os.Remove(b.dir); err != nil {
			t.Fatal(err)
		}
		b.steps(step{"", time.Minute, ""}, step{enq, time.Millisecond, ack})
		for _, f := range frames(text("1")) {
			b.steps(step{f, time.Millisecond, ack})
		}
		b.steps(step{eot, time.Minute, ""})
		b.tells("cannot be read", 1)
		if err := os.Mkdir(b.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		b.order("a.astm", "1")
		b.steps(step{"", time.Second, enq})
	})
}

// TestOutboxOfCallers sends to each analyser that calls what is in the folder of its address, over one connection.
func TestOutboxOfCallers(t *testing.T) {
	b := &bed{dir: t.TempDir()}
	b.rig = newRig(t, map[string]any{"outbox": b.dir})
	b.order("nobody.astm", "0")
	for _, name := range []string{"127.0.0.1", "127.0.0.2"} {
		if err := os.Mkdir(filepath.Join(b.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	message := b.order("127.0.0.1/a.astm", "1")
	b.order("127.0.0.2/b.astm", "2")
	first := b.rig.call()
	first.expect(enq)
	second := b.rig.call()
	for _, f := range frames(message) {
		first.say(ack)
		first.expect(f)
	}
	time.Sleep(outboxLook + 100*time.Millisecond) // the second one has looked
	second.say(enq)
	second.expect(ack)
	first.Close()
	b.order("127.0.0.1/c.astm", "3")
	second.say(eot)
	second.expect(enq)
	b.is("127.0.0.1/a.astm 127.0.0.1/c.astm 127.0.0.2/b.astm nobody.astm")
}
