package sim_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk/capture"
	"github.com/hostd/hostd/core/sdk/sim"
)

// captured is what a driver's capture says of a play of the script.
func captured(t *testing.T, script sim.Script, driver func(io.ReadWriter)) capture.Log {
	dir := t.TempDir()
	r := capture.NewRecorder(dir, 0, slog.New(slog.DiscardHandler))
	play(t, sim.Options{}, script, func(conn net.Conn) {
		c := r.Wrap("port", conn)
		driver(c)
		c.Close()
	})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := capture.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answerer is a driver that hears a line and answers it, so often.
func answerer(heard *string, answers ...string) func(io.ReadWriter) {
	return func(rw io.ReadWriter) {
		for _, a := range answers {
			for b := make([]byte, 1); ; {
				if _, err := io.ReadFull(rw, b); err != nil {
					return
				}
				*heard += string(b)
				if b[0] == '\r' {
					break
				}
			}
			if _, err := rw.Write([]byte(a)); err != nil {
				return
			}
		}
		io.Copy(io.Discard, struct{ io.Reader }{rw})
	}
}

func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first string
		l := captured(t, func(l *sim.Line) {
			l.Say("ID Muster-7\r")
			l.Expect("\x06AA 10\r")
			l.Wait(time.Minute)
			l.Say("R 15\r")
			l.Expect("\x06AA 11\r")
		}, answerer(&first, "\x06AA 10\r", "\x06AA 11\r"))
		masked := l.Mask()
		for _, c := range []struct {
			name    string
			log     capture.Log
			o       sim.ReplayOptions
			answers []string
			heard   string
			took    time.Duration
			fails   bool
		}{
			{"the same", l, sim.ReplayOptions{Exact: true}, []string{"\x06AA 10\r", "\x06AA 11\r"}, first, 0, false},
			{"other digits", l, sim.ReplayOptions{}, []string{"\x06AA 98\r", "\x06AA 99\r"}, first, 0, false},
			{"other digits, exactly", l, sim.ReplayOptions{Exact: true}, []string{"\x06AA 98\r", "\x06AA 99\r"}, "ID Muster-7\r", 0, true},
			{"a refusal", l, sim.ReplayOptions{}, []string{"\x15AA 10\r", "\x06AA 11\r"}, "ID Muster-7\r", 0, true},
			{"in real time", l, sim.ReplayOptions{Timing: true}, []string{"\x06AA 10\r", "\x06AA 11\r"}, first, time.Minute, false},
			{"masked", masked, sim.ReplayOptions{Exact: true}, []string{"\x06AA 10\r", "\x06AA 11\r"}, "xx xxxxxx-9\rx 99\r", 0, false},
		} {
			var heard string
			start := time.Now()
			err := tryPlay(t.Context(), sim.Options{}, sim.Replay(c.log, c.o), func(conn net.Conn) { answerer(&heard, c.answers...)(conn) })
			if (err != nil) != c.fails || (c.fails && !errors.Is(err, sim.ErrUnexpected)) || heard != c.heard || time.Since(start) != c.took {
				t.Errorf("%s: %v, heard %q after %v", c.name, err, heard, time.Since(start))
			}
			if err != nil && (strings.Contains(err.Error(), "AA") || !strings.Contains(err.Error(), `xx 99`)) {
				t.Errorf("%s: the error shows what was said: %v", c.name, err)
			}
		}
	})
}

// TestReplayWithoutTheDriver is of a driver that does not answer as it did.
func TestReplayWithoutTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := capture.Log{Events: []capture.Event{{Kind: capture.Out, Data: []byte("ID Muster")}, {Kind: capture.Unsent, N: 3}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		said := func(text string) error {
			return tryPlay(ctx, sim.Options{}, sim.Replay(l, sim.ReplayOptions{}), func(conn net.Conn) {
				conn.Write([]byte(text))
				io.ReadAll(conn)
			})
		}
		if err := said("ID Mus"); err != nil {
			t.Errorf("what never left is waited for: %v", err)
		}
		var late net.Error
		if err := said("ID M"); !errors.As(err, &late) || !late.Timeout() || strings.Contains(err.Error(), "Mus") {
			t.Error(err)
		}
	})
}
