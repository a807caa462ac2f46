package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

// rig is a host with one device, and the instrument's end of its line. The host stores what Read gives, and acknowledges it.
type rig struct {
	t        testing.TB
	settings map[string]any
	d        *device
	line     net.Conn // the instrument's end
	pos      sdk.Position
	mu       sync.Mutex
	stored   []sdk.Record // under mu
	hold     bool         // the host takes the batch and does nothing with it
	cut      bool         // the host stores the batch, and dies before it says so
	refuse   int          // so many batches are refused
	log      bytes.Buffer
	end      func() // ends the session
	failed   error  // how Read ended
}

func newRig(t testing.TB, profile string, settings map[string]any) *rig {
	r := &rig{t: t, settings: map[string]any{"port": "tcp://127.0.0.1:1", "profile": profile}}
	maps.Copy(r.settings, settings)
	r.open()
	t.Cleanup(func() { r.end() })
	return r
}

// open begins a session at the last stored position, on a new line.
func (r *rig) open() {
	r.t.Helper()
	if r.end != nil {
		r.end()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	driver, instrument := net.Pipe()
	r.line, r.failed = instrument, nil
	r.end = func() { cancel(); instrument.Close(); running.Wait() }
	env := sdk.Env{
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Settings: sdk.NewSettings(r.json()),
		Go: func(f func(context.Context) error) { running.Go(func() { _ = f(ctx) }) },
	}
	r.d = &device{}
	if err := r.d.prepare(env, r.pos); err != nil {
		r.t.Fatal(err)
	}
	r.d.port = line.On(env, driver)
	running.Go(func() { r.failed = r.serve(ctx) })
}

func (r *rig) json() []byte {
	b, err := json.Marshal(r.settings)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// serve is the host's part of a session.
func (r *rig) serve(ctx context.Context) error {
	for {
		b, err := r.d.Read(ctx)
		if err != nil {
			return err
		}
		if r.hold {
			<-ctx.Done()
			return ctx.Err()
		}
		if r.refuse > 0 {
			r.refuse--
			if err := r.d.Refuse(ctx, b.Next, sdk.ReasonFull); err != nil {
				return err
			}
			continue
		}
		r.mu.Lock()
		r.stored = append(r.stored, b.Records...)
		r.mu.Unlock()
		if b.Next != "" {
			r.pos = b.Next
		}
		if r.cut && len(b.Records) > 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := r.d.Ack(ctx, b.Next); err != nil {
			return err
		}
	}
}

// say has the instrument speak, and everything settle.
func (r *rig) say(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if err := r.line.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(r.line, text); err != nil {
			r.t.Fatal(err)
		}
		r.settle()
	}
}

// settle waits until the driver has done all that can be done now, its answer's millisecond included.
func (r *rig) settle() {
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
}

// hears is what the instrument hears within a second.
func (r *rig) hears() string {
	r.t.Helper()
	var all []byte
	b := make([]byte, 64)
	if err := r.line.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		r.t.Fatal(err)
	}
	for {
		n, err := r.line.Read(b)
		all = append(all, b[:n]...)
		if err != nil {
			return string(all)
		}
	}
}

// all is what was stored, when the driver has nothing more to do.
func (r *rig) all() []sdk.Record {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stored)
}

// records are the IDs of what was stored, each once, with the kind or the reason before it.
func (r *rig) records() (words []string) {
	seen := map[string]string{}
	for _, rec := range r.all() {
		content := rec.ContentHashHex()
		if old, ok := seen[rec.ID]; ok {
			if old != content {
				r.t.Errorf("record %s has another content", rec.ID)
			}
			continue
		}
		seen[rec.ID] = content
		word := rec.Kind
		if rec.Kind == sdk.KindReject {
			word = rec.Labels[sdk.LabelReason]
		}
		words = append(words, word)
	}
	return words
}

func (r *rig) want(words string) {
	r.t.Helper()
	if got := strings.Join(r.records(), " "); got != words {
		r.t.Errorf("stored %s, want %s", got, words)
	}
}

// frameOf makes frames of a shipped profile.
func frameOf(t testing.TB, profile string, n int) string {
	t.Helper()
	p, err := lineprofile.Named(profile)
	if err != nil {
		t.Fatal(err)
	}
	_, frame, err := (&instrument{p: p, rand: newInstrument(p, uint64(n), false, 0).rand, next: n}).exam()
	if err != nil {
		t.Fatal(err)
	}
	return string(frame)
}

// bubble runs the test in virtual time.
func bubble(t *testing.T, profile string, settings map[string]any, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, profile, settings)
		f(t, r)
		all := r.all()
		r.end()
		if r.failed != nil && !errors.Is(r.failed, context.Canceled) {
			t.Errorf("Read: %v", r.failed)
		}
		for _, rec := range all {
			if rec.Kind == exam.Kind {
				e, err := exam.Decode(rec.Data)
				if err != nil {
					t.Fatal(err)
				}
				if id := e.Patient.ID; id != "" && (strings.Contains(r.log.String(), id) || strings.Contains(rec.ID, id)) {
					t.Error("a patient's id is in the log or in an ID")
				}
			}
		}
	})
}

var answered = map[string]any{"ack": "<ACK>", "nak": "<NAK>"}

const (
	ack = "\x06"
	nak = "\x15"
)
