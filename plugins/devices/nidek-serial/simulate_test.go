package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/line"
	"github.com/hostd/hostd/core/sdk/sim"
)

// played is a simulator that runs, with the port that it has printed.
type played struct {
	port  string
	lines *bufio.Scanner
	end   func() error // of it, when it has ended by itself
}

func play(t *testing.T, args ...string) *played {
	t.Helper()
	if slices.Contains(args, "--pty") {
		pty(t) // or skip
	}
	out, in := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		err := simulate(ctx, args, nil, in)
		done <- errors.Join(err, in.Close())
	}()
	p := &played{lines: bufio.NewScanner(out), end: func() error { return <-done }}
	t.Cleanup(func() {
		cancel()
		out.Close()
	})
	if !p.lines.Scan() {
		t.Fatalf("it says nothing: %v", p.end())
	}
	var ok bool
	if p.port, ok = strings.CutPrefix(p.lines.Text(), "port "); !ok {
		t.Fatalf("it says %q", p.lines.Text())
	}
	return p
}

// TestSimulate has the driver read what the simulated units send in every way: each exam once, and what goes wrong as rejects.
func TestSimulate(t *testing.T) {
	for _, c := range []struct {
		args, profile, want string
	}{
		{"--pty --count 5 --misbehave noise,split,cut,checksum", "ark", "noise, exam 1, exam 2, truncated, exam 3, checksum, exam 4, noise, exam 5"},
		{"--listen 127.0.0.1:0 --count 2 --misbehave checksum", "ark", "checksum, exam 1, checksum, exam 2"},
		{"--listen 127.0.0.1:0 --count 3 --mode listen --profile lm", "lm", "exam 1, exam 2, exam 3"},
		{"--pty --count 3 --profile rt-type1 --misbehave cut,split", "rt-type1", "truncated, exam 1, exam 2, truncated, exam 3"},
	} {
		t.Run(c.args, func(t *testing.T) {
			p := play(t, append(strings.Fields(c.args), "--seed", "7")...)
			r := newRig(t, map[string]any{"port": p.port, "profile": c.profile})
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
			list := strings.Split(c.want, ", ")
			heard := make(chan bool)
			go func() {
				for p.lines.Scan() {
				}
				close(heard)
			}()
			r.take(len(list), wait)
			ctx, cancel := context.WithCancel(t.Context()) // it asks once more, to hear of the last one
			go func() {
				<-heard
				cancel()
			}()
			if b, err := r.d.Read(ctx); len(b.Records) > 0 || err == nil {
				t.Errorf("a record too many: %d, %v", len(b.Records), err)
			}
			n := 0
			for i, rec := range r.stored {
				got := rec.Labels["reason"]
				if rec.Kind == "exam" {
					n++
					got = fmt.Sprint("exam ", n)
				}
				if i >= len(list) || got != list[i] {
					t.Errorf("record %d is %s, want %s", i, got, c.want)
				}
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSimulateOutlivesTheDriver kills the driver at each moment: every exam that was answered is stored, and each of them is.
func TestSimulateOutlivesTheDriver(t *testing.T) {
	const count = 12
	p := play(t, "--listen", "127.0.0.1:0", "--count", fmt.Sprint(count), "--numbered", "--seed", "1")
	answered := make(chan []string, 1)
	go func() {
		var list []string
		for p.lines.Scan() {
			if id, ok := strings.CutPrefix(p.lines.Text(), "answered "); ok {
				list = append(list, id)
			}
		}
		answered <- list
	}()
	r := newRig(t, map[string]any{"port": p.port, "profile": "ark"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*wait)
	defer cancel()
	var ids []string
	for n := 0; ids == nil; n++ {
		if n%3 != 2 { // before the exam is read, while it is not stored, after it is
			r.d = &nidek{}
			if err := r.open(); err != nil {
				select {
				case ids = <-answered: // it has ended
					continue
				case <-time.After(10 * time.Millisecond):
					continue
				}
			}
		}
		read, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		if b, err := r.d.Read(read); err == nil && n%3 != 1 {
			r.ack(&b)
		}
		stop()
		select {
		case ids = <-answered:
		default:
		}
		if ctx.Err() != nil {
			t.Fatalf("only %d exams", len(r.ids()))
		}
	}
	var want []string
	for n := range count {
		want = append(want, numberedID(n+1))
	}
	if err := p.end(); err != nil || !slices.Equal(ids, want) {
		t.Errorf("answered %v, %v", ids, err)
	}
	exams := map[string]string{}
	for _, rec := range r.stored {
		exams[rec.ID] = string(rec.Raw)
	}
	for _, id := range want {
		if n := strings.Count(strings.Join(slices.Collect(maps.Values(exams)), ""), id); n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
}

func TestSimulateRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                     "--port, --pty and --listen",
		"--pty --listen 127.0.0.1:0":           "one of",
		"--profile hrk --pty":                  "profile",
		"--misbehave loud --pty":               "--misbehave knows",
		"--count -1 --pty":                     "negative",
		"--mode shout --pty":                   "--mode",
		"--profile rt-type2 --mode handshake":  "--mode",
		"--profile rt-type2 --numbered --pty":  "nobody answers",
		"--mode listen --numbered --port /dev": "nobody answers",
	} {
		if err := simulate(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", args, err, want)
		}
	}
}

// TestSilentInstrument: one that hears nothing for a while is invited all the same, and one that is not heard asks again.
func TestSilentInstrument(t *testing.T) {
	instrument := pty(t)
	i, err := newInstrument("ark", "", silence)
	if err != nil {
		t.Fatal(err)
	}
	i.patience = time.Second
	i.open = func(context.Context) (sim.Conn, error) { return instrument, nil }
	i.more = func(ctx context.Context, n int) (bool, error) { return n < 1, nil }
	var out bytes.Buffer
	i.out = &out
	done := make(chan error, 1)
	go func() { done <- i.run(t.Context()) }()
	r := newRig(t, map[string]any{"port": instrument.Path(), "profile": "ark"})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for {
		b, err := r.d.Read(ctx)
		if err != nil { // it has ended, and its line with it
			break
		}
		r.ack(&b)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(r.ids()) != 1 || out.String() != "exam 1 is answered\n" {
		t.Errorf("%d exams, it says %q", len(r.ids()), out.String())
	}
}

// TestSimulateConformance plays the suite's part of the talk.
func TestSimulateConformance(t *testing.T) {
	in, suite := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- simulate(t.Context(), []string{"--conformance"}, in, out) }()
	lines := bufio.NewScanner(answers)
	lines.Scan()
	_, rest, _ := strings.Cut(lines.Text(), `"port":"`)
	port, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("%q", lines.Text())
	}
	if _, err := io.WriteString(suite, "produce 3\n"); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "ok" {
		t.Fatalf("%q", lines.Text())
	}
	r := newRig(t, map[string]any{"port": port, "profile": "ark"})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if r.take(3, wait); len(r.ids()) != 3 {
		t.Errorf("%d exams", len(r.ids()))
	}
	suite.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSimulateOnATerminal has the unit speak on a line that is there, whose other end is the driver's.
func TestSimulateOnATerminal(t *testing.T) {
	p := pty(t)
	done := make(chan error, 1)
	go func() {
		done <- simulate(t.Context(), []string{"--port", p.Path(), "--count", "2", "--numbered"}, nil, io.Discard)
	}()
	r := newRig(t, map[string]any{"port": "pty", "profile": "ark"})
	r.d.dial = func(_ context.Context, env sdk.Env, _ line.Settings, _ line.Mode) (*line.Port, error) {
		return line.On(env, p), nil
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	go func() {
		defer cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for {
		b, err := r.d.Read(ctx)
		if err != nil {
			break
		}
		r.ack(&b)
	}
	if r.words() != "exam K-000001, exam K-000002" {
		t.Error(r.words())
	}
	if err := simulate(t.Context(), []string{"--port", p.Path() + "0"}, nil, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a line that is not there: %v", err)
	}
}
