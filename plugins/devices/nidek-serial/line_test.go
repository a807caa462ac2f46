package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk/sim"
)

// wait is for what has to come over a pty.
const wait = 20 * time.Second

// trouble is what a line does, and the records that become of it.
type trouble struct {
	script sim.Script
	want   []string
}

// troubles are what goes wrong on serial lines.
func troubles() map[string]trouble {
	f := frames("ark", 40)
	all := func(from, to int) (list []string) {
		for n := from; n <= to; n++ {
			list = append(list, "exam "+numberedID(n))
		}
		return list
	}
	return map[string]trouble{
		"byte by byte": {func(l *sim.Line) {
			for _, b := range []byte(f[0] + f[1]) {
				l.Say(string(b))
			}
		}, all(1, 2)},
		"slow sender": {func(l *sim.Line) {
			for at := 0; at < len(f[0]); at += 8 {
				l.Say(f[0][at:min(at+8, len(f[0]))])
				l.Wait(2 * time.Millisecond)
			}
		}, all(1, 1)},
		"split in two": {func(l *sim.Line) {
			for n, s := range f {
				l.Split(s, time.Duration(n%3)*time.Millisecond)
			}
		}, all(1, 40)},
		"burst":            {func(l *sim.Line) { l.Say(strings.Join(f, "")) }, all(1, 40)},
		"two in one write": {func(l *sim.Line) { l.Say(f[0] + f[1]) }, all(1, 2)},
		"noise": {func(l *sim.Line) {
			l.Noise(10)
			l.Say(f[0])
			l.Noise(12)
			l.Say(f[1])
		}, append([]string{"noise"}, append(all(1, 1), "noise", "exam "+numberedID(2))...)},
		"garbage between frames": {func(l *sim.Line) { l.Say(f[0] + "\x04\x17garbage\r\n" + f[1]) }, []string{"exam " + numberedID(1), "noise", "exam " + numberedID(2)}},
		"cut, and switched on again": {func(l *sim.Line) {
			l.Cut(f[0])
			l.Say(request)
			l.Expect(invitation)
			l.Say(f[0])
		}, append([]string{"truncated"}, all(1, 1)...)},
		"wrong checksum, then asked again": {func(l *sim.Line) {
			l.Spoil(f[0][:60])
			l.Say(f[0][60:] + request)
			l.Expect(invitation)
			l.Say(f[0])
		}, append([]string{"checksum"}, all(1, 1)...)},
		"asks, and sends when it is invited": {func(l *sim.Line) {
			for _, s := range f[:5] {
				l.Say(request)
				l.Expect(invitation)
				l.Say(s)
			}
		}, all(1, 5)},
	}
}

// on plays it on a line: the driver opens the port, the instrument has the other end.
func (p trouble) on(t *testing.T, port string, instrument sim.Conn) {
	t.Helper()
	r := newRig(t, map[string]any{"port": port, "profile": "ark"})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	played := make(chan error, 1)
	go func() { played <- sim.Play(t.Context(), instrument, sim.Options{Seed: 3, Patience: wait}, p.script) }()
	r.take(len(p.want), wait)
	if err := <-played; err != nil {
		t.Error(err)
	}
	if got, want := r.words(), strings.Join(p.want, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestOnPTYs is on lines that are as real as can be without a cable.
func TestOnPTYs(t *testing.T) {
	for name, p := range troubles() {
		t.Run(name, func(t *testing.T) {
			instrument := pty(t)
			p.on(t, instrument.Path(), instrument)
		})
	}
}

// TestPortThatVanishes pulls the adapter out in the middle of a frame, and puts it back under its stable name.
func TestPortThatVanishes(t *testing.T) {
	f := frames("ark", 2)
	stable := filepath.Join(t.TempDir(), "by-id")
	plug := func() *sim.PTY {
		p := pty(t)
		if err := os.Symlink(p.Path(), stable); err != nil {
			t.Fatal(err)
		}
		return p
	}
	instrument := plug()
	r := newRig(t, map[string]any{"port": stable, "profile": "ark"})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(instrument, f[0]+f[1][:100]); err != nil {
		t.Fatal(err)
	}
	r.take(1, wait)
	instrument.Close()
	if err := os.Remove(stable); err != nil {
		t.Fatal(err)
	}
	r.take(2, wait)
	if _, err := r.d.Read(t.Context()); err == nil {
		t.Error("Read of a port that is gone gives no error")
	}
	if err := r.open(); err == nil || !strings.Contains(err.Error(), "plugged in") {
		t.Errorf("Open while it is out: %v", err)
	}
	instrument = plug()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(instrument, f[1]); err != nil {
		t.Fatal(err)
	}
	r.take(3, wait)
	if r.words() != "exam K-000001, truncated, exam K-000002" {
		t.Error(r.words())
	}
}

// BenchmarkAnswer is the time from the last byte of an exam until the unit is invited to send the next one, on a pty, with all
// that the driver does in between; the host's own time, of its fsync, comes to it. Where no checksum comes, its place is waited
// for: it is the time until the host may store the exam.
func BenchmarkAnswer(b *testing.B) {
	b.Run("checksum", func(b *testing.B) { benchmarkAnswer(b, true) })
	b.Run("none", func(b *testing.B) { benchmarkAnswer(b, false) })
}

func benchmarkAnswer(b *testing.B, summed bool) {
	instrument := pty(b)
	r := newRig(b, map[string]any{"port": instrument.Path(), "profile": "ark"})
	if err := r.open(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	acked, ended := make(chan bool, 1), make(chan error, 1)
	go func() {
		for {
			batch, err := r.d.Read(ctx)
			if err == nil {
				err = r.d.Ack(ctx, batch.Next)
			}
			if err != nil {
				ended <- err
				return
			}
			acked <- true
		}
	}()
	u := unit{profile: "ark", numbered: true, seed: 1}
	answer := make([]byte, len(invitation))
	for n := 1; b.Loop(); n++ {
		text := u.frame(n) + request
		if !summed {
			text = text[:len(text)-len(request)-5]
		}
		if _, err := io.WriteString(instrument, text); err != nil {
			b.Fatal(err)
		}
		<-acked
		if !summed {
			continue
		}
		if _, err := io.ReadFull(instrument, answer); err != nil || string(answer) != invitation {
			b.Fatalf("%q, %v", answer, err)
		}
	}
	cancel()
	<-ended
}
