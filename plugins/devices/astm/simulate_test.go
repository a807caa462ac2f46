package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sim"
)

// openWith opens a device that is to fail.
func openWith(t *testing.T, settings map[string]any) error {
	t.Helper()
	values := map[string]any{"port": "listen://127.0.0.1:0"}
	for k, v := range settings {
		values[k] = v
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return (&device{}).Open(t.Context(), sdk.Env{
		Settings: sdk.NewSettings(text), Log: slog.New(slog.DiscardHandler), Go: func(func(context.Context) error) {},
	}, "")
}

// TestSimulate has the simulated analyser misbehave in each way: each message is there once in the end.
func TestSimulate(t *testing.T) {
	r := newRig(t, nil)
	address := strings.TrimPrefix(r.settings["port"].(string), listens)
	var out bytes.Buffer
	err := simulate(t.Context(), []string{
		"--connect", address, "--count", "9", "--every", "0s", "--seed", "1", "--numbered", "--busy", "0s", "--silence", "100ms",
		"--misbehave", strings.Join(ways, ","),
	}, nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := 1; n <= 9; n++ {
		want = append(want, patient(n))
		if !strings.Contains(out.String(), "answered "+patient(n)+"\n") {
			t.Errorf("%s is not said", patient(n))
		}
	}
	if got := r.patients(); !slices.Equal(got, want) {
		t.Errorf("%v\n%s", got, r.kinds())
	}
	if !strings.Contains(out.String(), "sent 9, acknowledged 9, sent again 2, ") {
		t.Error(out.String())
	}
	for reason, n := range map[string]int{"reject noise": 7, "reject checksum": 1, "reject truncated": 4} {
		if strings.Count(r.kinds(), reason) < 1 || strings.Count(r.kinds(), reason) > n {
			t.Errorf("%s: %s\n%s", reason, r.kinds(), r.log.String())
		}
	}
}

// TestSerial has it speak on a serial line, in whose middle the driver is killed.
func TestSerial(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no pseudo terminals")
	}
	pty, err := sim.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	r := newRig(t, map[string]any{"port": pty.Path()})
	a := &analyser{o: options{seed: 1, results: 3, timeout: 500 * time.Millisecond, numbered: true}, place: &place{
		stays: true, open: func(context.Context) (sim.Conn, error) { return pty, nil },
	}}
	done := make(chan error, 1)
	go func() {
		for n := 1; n <= 12; n++ {
			if err := a.deliver(t.Context(), n, []string{"", split, noise, cut, etb, allInOne}[n%6]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	r.await(3)
	r.kill()
	r.open()
	r.await(3)
	r.kill()
	r.open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, p := range r.patients() {
		ids[p] = true
	}
	for n := 1; n <= 12; n++ {
		if !ids[patient(n)] {
			t.Errorf("%s is missing", patient(n))
		}
	}
	for id, n := range r.ids() {
		if n > 1 && !strings.HasSuffix(id, "-r") {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// TestLineGone has a line that ends fail the device, so that the host opens it again.
func TestLineGone(t *testing.T) {
	ln, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := newRig(t, map[string]any{"port": "tcp://" + ln.Addr()})
	conn, err := ln.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, enq+frames(text("1"))[0])
	conn.Close()
	r.await(1)
	if err := <-r.ended; err == nil || r.kinds() != "reject truncated" {
		t.Error(err, r.kinds())
	}
}

func TestSimulateRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"": "where does it speak", "--connect x --pty": "one of", "--connect x --misbehave sing": "--misbehave knows", "--connect x --count -1": "negative",
	} {
		err := simulate(t.Context(), strings.Fields(args), nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestSimulateConformance plays the suite's part of the talk.
func TestSimulateConformance(t *testing.T) {
	in, suite := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- simulate(t.Context(), []string{"--conformance"}, in, out) }()
	line := make([]byte, 512)
	n, err := answers.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), `{"settings":{"port":"tcp://127.0.0.1:`) {
		t.Fatalf("%q, %v", line[:n], err)
	}
	var said struct{ Settings map[string]any }
	if err := json.Unmarshal(line[:n], &said); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, said.Settings)
	for _, ask := range []string{"produce 3\n", "large 2000000\n"} {
		io.WriteString(suite, ask)
		if n, err = answers.Read(line); string(line[:n]) != "ok\n" {
			t.Fatalf("%q, %v", line[:n], err)
		}
	}
	r.await(4)
	if last := r.records()[3]; len(last.Raw) < 2000000 || len(r.ids()) != 4 {
		t.Errorf("%d bytes, %d ids", len(last.Raw), len(r.ids()))
	}
	suite.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSimulateReceives has the simulated analyser take what the driver sends it.
func TestSimulateReceives(t *testing.T) {
	b := &bed{dir: t.TempDir()}
	b.rig = newRig(t, map[string]any{"outbox": b.dir})
	if err := os.Mkdir(filepath.Join(b.dir, "127.0.0.1"), 0o700); err != nil {
		t.Fatal(err)
	}
	message := b.order("127.0.0.1/a.astm", "1")
	b.order("127.0.0.1/b.astm", "2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out lockedBuffer
	done := make(chan error, 1)
	go func() {
		done <- simulate(ctx, []string{"--connect", strings.TrimPrefix(b.settings["port"].(string), listens), "--stay", "1m"}, nil, &out)
	}()
	for end := time.Now().Add(30 * time.Second); b.files() != "127.0.0.1/sent/a.astm 127.0.0.1/sent/b.astm" && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.is("127.0.0.1/sent/a.astm 127.0.0.1/sent/b.astm")
	if got := strings.Count(out.String(), fmt.Sprintf("received a message of %d bytes\n", len(message))); got != 2 || !strings.Contains(out.String(), "acknowledged 1,") {
		t.Error(out.String())
	}
}
