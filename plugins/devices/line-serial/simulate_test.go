package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sim"
)

// TestSimulateNumbered has a driver on a socket that goes away in the middle of it all: each exam is answered once it is
// stored, and said so in one line.
func TestSimulateNumbered(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lines, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := simulate(ctx, strings.Fields("--listen 127.0.0.1:0 --profile clm-7000 --numbered --count 3 --every 0s --patience 100ms --seed 7"), nil, out)
		out.CloseWithError(errors.Join(err, io.EOF))
		done <- err
	}()
	said := bufio.NewScanner(lines)
	if !said.Scan() || !strings.HasPrefix(said.Text(), "clm-7000 speaks on tcp://127.0.0.1:") || !strings.HasSuffix(said.Text(), " with seed 7") {
		t.Fatalf("%q, %v", said.Text(), said.Err())
	}
	address := strings.Fields(said.Text())[3]
	got := make(chan string, 3)
	go func() {
		for said.Scan() {
			got <- said.Text()
		}
		close(got)
	}()
	for n, hangUp := range []bool{true, false, true, false, false} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "tcp://"))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		for {
			frame, err := r.ReadString('$')
			if err != nil {
				t.Fatal(n, err)
			}
			if !strings.Contains(frame, "No=K-00000") || hangUp {
				break
			}
			io.WriteString(conn, ack)
			if want := "answered " + frame[strings.Index(frame, "K-"):][:8]; <-got != want {
				t.Fatal("not said: " + want)
			}
			break
		}
		conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSimulateRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                    "where it speaks",
		"--pty --listen x":                    "one of --port",
		"--pty":                               "profile is missing",
		"--pty --profile rc":                  "rc-5000",
		"--pty --profile capture":             "hostd capture replay",
		"--pty --profile rc-5000 --count -1":  "negative",
		"--pty --profile tl-3000c --numbered": "no number",
		"--pty --profile rc-5000 --numbered --ack none":    "not answered",
		"--pty --profile rc-5000 --misbehave spoil":        "no checksum",
		"--pty --profile rc-5000 --misbehave noise,shout":  "--misbehave knows",
		"--port /no/such/port --profile rc-5000 --seed 12": "no such file",
		"--listen nowhere --profile rc-5000":               "listen",
	} {
		if err := simulate(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			if !errors.Is(err, os.ErrNotExist) || want != "no such file" {
				t.Errorf("%s: %v, want %q", args, err, want)
			}
		}
	}
	var help bytes.Buffer
	if err := simulate(t.Context(), []string{"--help"}, nil, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-numbered") {
		t.Errorf("%v\n%s", err, help.String())
	}
}

// TestSimulateConformance plays the suite's part of the talk.
func TestSimulateConformance(t *testing.T) {
	in, suite := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- simulate(t.Context(), []string{"--conformance"}, in, out) }()
	said := bufio.NewScanner(answers)
	var first struct {
		Settings map[string]string
		Records  int
	}
	if !said.Scan() || json.Unmarshal(said.Bytes(), &first) != nil || first.Records != 0 || first.Settings["profile"] != "rc-5000" {
		t.Fatalf("%q", said.Text())
	}
	io.WriteString(suite, "produce 2\n")
	if !said.Scan() || said.Text() != "ok" {
		t.Fatalf("%q", said.Text())
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(first.Settings["port"], "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, seen := bufio.NewReader(conn), map[string]bool{}
	for len(seen) < 2 {
		frame, err := r.ReadString(4)
		if err != nil {
			t.Fatal(err)
		}
		seen[frame] = true
		io.WriteString(conn, ack)
	}
	suite.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// tap says how many bytes each read of a line gave.
type tap struct {
	io.ReadWriteCloser
	reads chan int
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(b)
	t.reads <- n
	return n, err
}

// TestSerialLine is the whole driver on a serial line: a frame byte by byte, one cut by an adapter that is pulled out, and
// the next one when it is there again.
func TestSerialLine(t *testing.T) {
	var pos sdk.Position
	frame := frameOf(t, "rc-5000", 1)
	for _, vanishes := range []bool{false, true, false} {
		pty, err := sim.OpenPTY()
		if errors.Is(err, sim.ErrNoPTY) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		var running sync.WaitGroup
		settings, err := json.Marshal(map[string]any{"port": pty.Path(), "profile": "rc-5000", "ack": "<ACK>"})
		if err != nil {
			t.Fatal(err)
		}
		d, wire := &device{}, &tap{reads: make(chan int, 1000)}
		env := sdk.Env{
			Log: slog.New(slog.DiscardHandler), Settings: sdk.NewSettings(settings),
			Go:   func(f func(context.Context) error) { running.Go(func() { _ = f(ctx) }) },
			Wire: func(_ string, conn io.ReadWriteCloser) io.ReadWriteCloser { wire.ReadWriteCloser = conn; return wire },
		}
		if err := d.Open(ctx, env, pos); err != nil {
			t.Fatal(err)
		}
		if vanishes {
			io.WriteString(pty, frame[:60])
			for n := 0; n < 60; {
				n += <-wire.reads
			}
			pty.Close()
			b, err := d.Read(ctx)
			if err != nil || len(b.Records) != 1 || b.Records[0].Labels[sdk.LabelReason] != "truncated" {
				t.Errorf("%+v, %v", b, err)
			}
			if err := d.Ack(ctx, b.Next); err != nil {
				t.Error(err)
			}
			if b, err := d.Read(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("without a line Read gives %+v, %v", b, err)
			}
		} else {
			for i := range frame {
				io.WriteString(pty, frame[i:i+1])
			}
			b, err := d.Read(ctx)
			if err != nil || len(b.Records) != 1 || b.Records[0].Kind != "exam" {
				t.Fatalf("%+v, %v", b, err)
			}
			pos = b.Next
			if err := d.Ack(ctx, pos); err != nil {
				t.Error(err)
			}
			answer := make([]byte, 2)
			if n, err := pty.Read(answer); string(answer[:n]) != ack || err != nil {
				t.Errorf("it hears %q, %v", answer[:n], err)
			}
			b, err = d.Read(ctx) // the answer is noted
			if err != nil || len(b.Records) != 0 || b.Next == pos {
				t.Errorf("%+v, %v", b, err)
			}
			pos = b.Next
		}
		cancel()
		running.Wait()
		pty.Close()
	}
}
