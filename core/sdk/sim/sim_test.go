package sim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk/sim"
)

// play plays the script to a driver, and wants both to end well.
func play(t *testing.T, o sim.Options, script sim.Script, driver func(conn net.Conn)) {
	t.Helper()
	if err := tryPlay(t.Context(), o, script, driver); err != nil {
		t.Error(err)
	}
}

func tryPlay(ctx context.Context, o sim.Options, script sim.Script, driver func(conn net.Conn)) error {
	instrument, conn := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		driver(conn)
	}()
	err := sim.Play(ctx, instrument, o, script)
	instrument.Close()
	<-done
	conn.Close()
	return err
}

// read gives all that the driver hears.
func read(into *string) func(net.Conn) {
	return func(conn net.Conn) {
		b, _ := io.ReadAll(conn)
		*into = string(b)
	}
}

func TestSteps(t *testing.T) {
	seen := make(chan struct{})
	play(t, sim.Options{Seed: 1}, func(l *sim.Line) {
		l.Say("\x05")
		if got := l.Expect("\x15", "\x06"); got != "\x06" {
			t.Errorf("expected the one that came, got %q", got)
		}
		if got := l.Until("\x1c\r", "\r"); got != "MSH|1\r" {
			t.Errorf("up to the end that comes first: %q", got)
		}
		if got := l.Until("\x1c\r"); got != "MSA|AA\x1c\r" {
			t.Errorf("what was heard besides stays: %q", got)
		}
		l.Await(seen)
		l.Say("end")
	}, func(conn net.Conn) {
		b := make([]byte, 8)
		conn.Read(b)
		for _, part := range []string{"\x06MSH", "|1\rMSA|AA", "\x1c", "\r"} {
			conn.Write([]byte(part))
		}
		close(seen)
		if n, err := conn.Read(b); string(b[:n]) != "end" || err != nil {
			t.Errorf("%q, %v", b[:n], err)
		}
	})
}

func TestUnexpected(t *testing.T) {
	after := false
	err := tryPlay(t.Context(), sim.Options{Seed: 99}, func(l *sim.Line) {
		l.Expect("\x06\r", "\x15")
		l.Say("never")
		l.Wait(time.Hour)
		after = l.Failed() && l.Expect("\x06") == "" && l.Until("x") == ""
	}, func(conn net.Conn) {
		conn.Write([]byte("\x06x"))
		if b, err := io.ReadAll(conn); err != nil || len(b) > 0 {
			t.Errorf("said %q after its failure, %v", b, err)
		}
	})
	if !errors.Is(err, sim.ErrUnexpected) || !strings.Contains(err.Error(), `seed 99`) || !strings.Contains(err.Error(), `expected "\x06\r" or "\x15", heard "\x06x"`) {
		t.Error(err)
	}
	if !after {
		t.Error("a step after the failure did something")
	}
}

// TestPatience is of a driver that says nothing, and of the end of the context.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		quiet := func(conn net.Conn) { io.ReadAll(conn) }
		err := tryPlay(t.Context(), sim.Options{Patience: 3 * time.Second}, func(l *sim.Line) { l.Expect("\x06") }, quiet)
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for _, script := range []sim.Script{
			func(l *sim.Line) { l.Expect("\x06") },
			func(l *sim.Line) { l.Wait(time.Hour) },
			func(l *sim.Line) { l.Silence(time.Hour) },
			func(l *sim.Line) { l.Await(nil) },
		} {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := tryPlay(ctx, sim.Options{}, script, quiet); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			cancel()
		}
	})
}

func TestMisbehave(t *testing.T) {
	const frame = "\x02R+01.25-00.50090\x03A7\r"
	script := func(l *sim.Line) {
		l.Noise(200)
		l.Say("\x00")
		l.Split(frame, time.Second)
		l.Say("\x00")
		l.Cut(frame)
		l.Say("\x00")
		l.Spoil(frame)
	}
	said := func(seed uint64) (text string) {
		synctest.Test(t, func(t *testing.T) { play(t, sim.Options{Seed: seed}, script, read(&text)) })
		return text
	}
	first := said(5)
	if said(5) != first || said(6) == first {
		t.Error("the seed does not decide what is random")
	}
	for seed := range uint64(50) {
		parts := strings.Split(said(seed+1), "\x00")
		noise, whole, cut, spoiled := parts[0], parts[1], parts[2], parts[3]
		if len(noise) != 200 || strings.ContainsFunc(noise, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("seed %d: noise %q", seed, noise)
		}
		if whole != frame {
			t.Errorf("seed %d: pieces make %q", seed, whole)
		}
		if cut == "" || cut == frame || !strings.HasPrefix(frame, cut) {
			t.Errorf("seed %d: cut is %q", seed, cut)
		}
		different := 0
		for i := range frame {
			if spoiled[i] != frame[i] {
				different++
				if frame[i] < ' ' || spoiled[i] < ' ' {
					t.Errorf("seed %d: a control character became another: %q", seed, spoiled)
				}
			}
		}
		if len(spoiled) != len(frame) || different != 1 {
			t.Errorf("seed %d: spoiled is %q", seed, spoiled)
		}
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		play(t, sim.Options{}, func(l *sim.Line) {
			l.Expect("hello")
			l.Silence(time.Minute)
			l.Expect("late")
		}, func(conn net.Conn) {
			conn.Write([]byte("hello, nobody hears this"))
			for range 3 {
				conn.Write([]byte("nobody hears this"))
				time.Sleep(10 * time.Second)
			}
			time.Sleep(31 * time.Second)
			conn.Write([]byte("late"))
		})
	})
}

func TestDeliver(t *testing.T) {
	for _, c := range []struct {
		answers string
		want    bool
		said    int
	}{{"+", true, 1}, {"--+", true, 3}, {"------", false, 6}} {
		said := 0
		play(t, sim.Options{}, func(l *sim.Line) {
			if got := l.Deliver("frame", "+", "-", 6); got != c.want {
				t.Errorf("%q: %v", c.answers, got)
			}
		}, func(conn net.Conn) {
			b := make([]byte, 16)
			for _, a := range c.answers {
				n, _ := conn.Read(b)
				said += n / len("frame")
				conn.Write([]byte(string(a)))
			}
		})
		if said != c.said {
			t.Errorf("%q: said %d times", c.answers, said)
		}
	}
}
