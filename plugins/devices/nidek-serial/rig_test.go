package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
	"github.com/hostd/hostd/core/sdk/sim"
)

const request, invitation = "\x01C**\x02RS\x17\x04", "\x01CRK\x02SD\x17\x04\r"

// rig is a host with one device.
type rig struct {
	t        testing.TB
	settings map[string]any
	state    string
	d        *nidek
	at       sdk.Position
	stored   []sdk.Record
	log      bytes.Buffer
	end      func() // of the session
	far      net.Conn
	heard    chan byte // by the instrument, on a pipe
}

func newRig(t testing.TB, settings map[string]any) *rig {
	t.Helper()
	r := &rig{t: t, settings: settings, state: t.TempDir(), d: &nidek{}, end: func() {}}
	t.Cleanup(func() { r.close() })
	return r
}

// open opens the device at the last acknowledged position.
func (r *rig) open() error {
	r.t.Helper()
	r.close()
	text, err := json.Marshal(r.settings)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	r.end = func() { cancel(); running.Wait() }
	env := sdk.Env{
		Name: "nidek", Settings: sdk.NewSettings(text), StateDir: r.state, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Go: func(f func(context.Context) error) {
			running.Go(func() {
				if err := f(ctx); err != nil && ctx.Err() == nil {
					r.t.Errorf("goroutine: %v", err)
				}
			})
		},
	}
	return r.d.Open(r.t.Context(), env, r.at)
}

func (r *rig) close() {
	if err := r.d.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.end()
	r.end = func() {}
}

// pipe opens the device on a pipe, whose other end is the instrument's.
func (r *rig) pipe() *rig {
	r.t.Helper()
	if r.settings["port"] == nil {
		r.settings["port"] = "pipe"
	}
	r.d.dial = func(_ context.Context, env sdk.Env, _ line.Settings, _ line.Mode) (*line.Port, error) {
		near, far := net.Pipe()
		r.far = far
		heard := make(chan byte, 1<<16)
		r.heard = heard
		env.Go(func(context.Context) error {
			b := make([]byte, 1)
			for {
				if _, err := far.Read(b); err != nil {
					return nil //nolint:nilerr // the line has ended
				}
				heard <- b[0]
			}
		})
		return line.On(env, near), nil
	}
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// say is the instrument on a pipe.
func (r *rig) say(texts ...string) {
	r.t.Helper()
	for _, s := range texts {
		if _, err := io.WriteString(r.far, s); err != nil {
			r.t.Fatal(err)
		}
	}
}

// said is what the driver has said since it was asked last.
func (r *rig) said() string {
	var b []byte
	for {
		select {
		case c := <-r.heard:
			b = append(b, c)
		default:
			return string(b)
		}
	}
}

// read reads a batch within the time; nothing is no batch.
func (r *rig) read(within time.Duration) *sdk.Batch {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	b, err := r.d.Read(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil
	case err != nil:
		r.t.Fatalf("Read: %v", err)
	}
	return &b
}

func (r *rig) ack(b *sdk.Batch) {
	r.t.Helper()
	if err := r.d.Ack(r.t.Context(), b.Next); err != nil {
		r.t.Fatalf("Ack: %v", err)
	}
	r.at = b.Next
	r.stored = append(r.stored, b.Records...)
}

// take stores what comes until nothing has come for so long, or n records are there.
func (r *rig) take(n int, within time.Duration) {
	r.t.Helper()
	for len(r.stored) < n {
		b := r.read(within)
		if b == nil {
			return
		}
		r.ack(b)
	}
}

// words are the stored records: exam and its patient or first value, or the reason of a reject.
func (r *rig) words() string {
	r.t.Helper()
	var list []string
	for _, rec := range r.stored {
		if rec.Kind == sdk.KindReject {
			list = append(list, rec.Labels[sdk.LabelReason])
			continue
		}
		e, err := exam.Decode(rec.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, "exam "+e.Patient.ID)
	}
	return strings.Join(list, ", ")
}

// ids are the distinct ones of the stored records.
func (r *rig) ids() map[string]bool {
	ids := map[string]bool{}
	for _, rec := range r.stored {
		ids[rec.ID] = true
	}
	return ids
}

// pty is a serial line on which the driver opens its port.
func pty(t testing.TB) *sim.PTY {
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

// frames are exams 1 to n of a unit whose patients are numbered.
func frames(profile string, n int) []string {
	u := unit{profile: profile, numbered: true, seed: 1}
	var list []string
	for i := range n {
		list = append(list, u.frame(i+1))
	}
	return list
}

// TestFramesAreWhole holds that the simulated units say what the protocol's reader understands, without a warning.
func TestFramesAreWhole(t *testing.T) {
	for _, profile := range []string{"ar", "ark", "tonoref", "nt", "lm", "lm-7", "rt-type1", "rt-type2"} {
		for n, text := range frames(profile, 50) {
			list := 0
			for f := range nidekrs.Frames([]byte(text)) {
				list++
				e, why := new(nidekrs.Reader).Read(&f)
				if why != nil {
					t.Fatalf("%s: %+v", profile, why)
				}
				if e.Patient.ID != numberedID(n+1) || len(e.Warnings) > 0 || len(e.Observations) < 5 || e.TakenAt == "" {
					t.Errorf("%s: %+v", profile, e)
				}
			}
			if list != 1 {
				t.Fatalf("%s: %d frames of %q", profile, list, text)
			}
		}
	}
	if f := frames("ark", 2); f[0] == f[1] || slices.Equal(f, frames("ar", 2)) {
		t.Error("all exams are alike")
	}
}
