package line_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/line"
	"github.com/hostd/hostd/core/sdk/sim"
)

// session is an Env whose goroutines end with it.
func session(t *testing.T) (sdk.Env, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	end := func() { cancel(); running.Wait() }
	t.Cleanup(end)
	return sdk.Env{Log: slog.New(slog.DiscardHandler), Go: func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("a goroutine of the port: %v", err)
			}
		})
	}}, end
}

// heard reads until n bytes are there.
func heard(t *testing.T, p *line.Port, n int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []byte
	for len(all) < n {
		b, err := p.Next(ctx, 0)
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		all = append(all, b...)
	}
	return string(all)
}

func pty(t *testing.T) *sim.PTY {
	t.Helper()
	p, err := sim.OpenPTY()
	if errors.Is(err, sim.ErrNoPTY) {
		t.Skip("no pty on this system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A pty has no modem lines, and is opened all the same; the line that goes is told after what came before.
func TestSerialPort(t *testing.T) {
	instrument := pty(t)
	env, end := session(t)
	p, err := line.Open(t.Context(), env, line.Settings{Port: instrument.Path(), DTR: true, RTS: true}, line.Mode{Baud: 9600, Parity: "even"})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := p.Modem(); ok {
		t.Errorf("a pty has modem lines: %+v", m)
	}
	if _, err := io.WriteString(instrument, "\x02first\x03"); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, p, 7); got != "\x02first\x03" {
		t.Errorf("heard %q", got)
	}
	if n, err := p.Write([]byte{6, 13}); n != 2 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	answer := make([]byte, 2)
	if _, err := io.ReadFull(instrument, answer); err != nil || !bytes.Equal(answer, []byte{6, 13}) {
		t.Errorf("the instrument heard %q, %v", answer, err)
	}
	instrument.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if b, err := p.Next(ctx, 0); err == nil || ctx.Err() != nil {
		t.Errorf("Next of a line that is gone = %q, %v", b, err)
	}
	end()
}

func TestSerialServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	env, _ := session(t)
	p, err := line.Open(t.Context(), env, line.Settings{Port: "tcp://" + ln.Addr().String()}, line.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "last words"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := heard(t, p, 10); got != "last words" {
		t.Errorf("heard %q", got)
	}
	if _, err := p.Next(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "closed the line") {
		t.Errorf("Next after the end: %v", err)
	}
}

// Silence is measured from the call, and what came earlier is there at once or forgotten.
func TestSilenceAndDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, end := session(t)
		a, b := net.Pipe()
		p := line.On(env, a)
		began := time.Now()
		if _, err := p.Next(t.Context(), 3*time.Second); !errors.Is(err, line.ErrSilence) || time.Since(began) != 3*time.Second {
			t.Errorf("Next = %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Next(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next with a context that ends: %v", err)
		}
		for _, s := range []string{"old", "older"} {
			if _, err := io.WriteString(b, s); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		p.Discard()
		if _, err := io.WriteString(b, "new"); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Next(t.Context(), time.Second); string(got) != "new" || err != nil {
			t.Errorf("after Discard: %q, %v", got, err)
		}
		end()
	})
}

// However the bytes come, the texts are the same; noise, a frame without an end and one that is too long are none.
func TestFrames(t *testing.T) {
	const wire = "noise\x03\x02one\x03\x02cut\x02two\x03\x03\x02far too long\x03lost\x03\x02\x03\x02three\x03"
	want := []string{"one", "two", "", "three"}
	for size := 1; size <= len(wire); size++ {
		synctest.Test(t, func(t *testing.T) {
			env, end := session(t)
			a, b := net.Pipe()
			frames := line.Frames{Port: line.On(env, a), Start: 2, End: 3, Limit: 5}
			written := make(chan error, 1)
			go func() {
				for rest := []byte(wire); len(rest) > 0; rest = rest[min(size, len(rest)):] {
					if _, err := b.Write(rest[:min(size, len(rest))]); err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			for _, w := range want {
				if got, err := frames.Next(t.Context()); string(got) != w || err != nil {
					t.Fatalf("pieces of %d: %q, %v; want %q", size, got, err, w)
				}
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			end()
		})
	}
}

// A driver that does not read does not make the port keep all that comes.
func TestReadsAheadWithALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, end := session(t)
		a, b := net.Pipe()
		p := line.On(env, a)
		if err := b.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := b.Write(make([]byte, 1<<20))
		if err == nil || n > 80<<10 {
			t.Errorf("%d bytes were taken of a sender that nobody reads, %v", n, err)
		}
		if got := len(heard(t, p, n)); got != n {
			t.Errorf("%d bytes came of %d", got, n)
		}
		end()
	})
}

func TestMode(t *testing.T) {
	for _, c := range []struct {
		set     line.Settings
		profile line.Mode
		want    string
	}{
		{line.Settings{}, line.Mode{}, "9600 8N1"},
		{line.Settings{}, line.Mode{Baud: 2400, DataBits: 7, Parity: "even", StopBits: 2}, "2400 7E2"},
		{line.Settings{Baud: 115200, Parity: "none"}, line.Mode{Baud: 9600, Parity: "odd", StopBits: 1.5}, "115200 8N1.5"},
	} {
		if got := c.set.Mode(c.profile).String(); got != c.want {
			t.Errorf("%+v over %+v is %s, want %s", c.set, c.profile, got, c.want)
		}
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for _, c := range []struct {
		port string
		set  line.Settings
		says string
	}{
		{"/dev/hostd-no-such-port", line.Settings{}, "there is no such port"},
		{"tcp://192.0.2.1", line.Settings{}, "tcp://HOST:PORT"},
		{"udp://192.0.2.1:1", line.Settings{}, "tcp://HOST:PORT"},
		{"tcp://" + nobody, line.Settings{}, nobody},
		{"x", line.Settings{Parity: "maybe"}, "none, odd, even, mark or space"},
		{"x", line.Settings{StopBits: 1.2}, "1, 1.5 or 2"},
		{"x", line.Settings{DataBits: 4}, "5 to 8"},
	} {
		env, _ := session(t)
		c.set.Port = c.port
		if _, err := line.Open(t.Context(), env, c.set, line.Mode{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Open(%+v) = %v, want %q in it", c.set, err, c.says)
		}
	}
}

// A driver embeds the settings: they stand beside its own.
func TestSettingsAreEmbedded(t *testing.T) {
	type driver struct {
		line.Settings
		Profile string `setting:"profile" default:"ark"`
		inner   int
	}
	list, err := sdk.Describe(&driver{})
	if err != nil || len(list) != 8 || list[0].Name != "port" || list[7].Name != "profile" {
		t.Fatalf("Describe = %+v, %v", list, err)
	}
	d := driver{inner: 7}
	if err := sdk.NewSettings([]byte(`{"port":"COM3","stop_bits":2,"profile":"lm","rts":false}`)).Decode(&d); err != nil {
		t.Fatal(err)
	}
	want := driver{Settings: line.Settings{Port: "COM3", StopBits: 2, DTR: true}, Profile: "lm", inner: 7}
	if d != want {
		t.Errorf("decoded %+v, want %+v", d, want)
	}
}
