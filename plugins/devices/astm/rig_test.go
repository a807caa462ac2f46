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
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

// secret is in every id and name of a person here: it must not come out anywhere but in records.
const secret = "Secret"

// rig is a host with one device. What it stores outlives the device, as its position does.
type rig struct {
	t        testing.TB
	settings map[string]any
	d        *device
	dial     func(context.Context, sdk.Env, line.Settings, line.Mode) (*line.Port, error) // of the device; nil is the real one
	pos      sdk.Position
	cancel   context.CancelFunc
	jobs     sync.WaitGroup
	log      lockedBuffer
	ended    chan error // of the device: an error of Read or of a goroutine

	mu     sync.Mutex
	stored []sdk.Record // guarded by mu
	refuse int          // guarded by mu: batches that are still to be refused
	hold   sync.Mutex   // held: the host writes
	most   int          // guarded by mu: bytes of the largest batch of several records
	came   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig opens a device that listens on a free port, unless the settings say another one.
func newRig(t testing.TB, settings map[string]any) *rig {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	r := &rig{t: t, settings: map[string]any{"port": listens + ln.Addr().String()}, came: make(chan struct{}, 10000)}
	maps.Copy(r.settings, settings)
	r.open()
	t.Cleanup(func() {
		r.kill()
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("a patient is in the log:\n%s", r.log.String())
		}
	})
	return r
}

// open starts the device at the last stored position, and a host that stores what it reads.
func (r *rig) open() {
	r.t.Helper()
	text, err := json.Marshal(r.settings)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel, r.d, r.ended = cancel, &device{dial: r.dial}, make(chan error, 10)
	env := sdk.Env{
		Name: "lab", Settings: sdk.NewSettings(text), Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Wire: func(_ string, conn io.ReadWriteCloser) io.ReadWriteCloser { return conn },
		Go: func(f func(context.Context) error) {
			r.jobs.Go(func() {
				if err := f(ctx); err != nil && ctx.Err() == nil {
					r.ended <- err
				}
			})
		},
	}
	if err := r.d.Open(ctx, env, r.pos); err != nil {
		r.t.Fatal(err)
	}
	r.jobs.Go(func() {
		for {
			b, err := r.d.Read(ctx)
			if err == nil {
				err = r.answer(ctx, b)
			}
			if err != nil {
				r.ended <- err
				return
			}
		}
	})
}

// answer stores a batch or refuses it.
func (r *rig) answer(ctx context.Context, b sdk.Batch) error {
	r.hold.Lock()
	defer r.hold.Unlock()
	r.mu.Lock()
	size := 0
	for i := range b.Records {
		size += len(b.Records[i].Raw) + len(b.Records[i].Data)
	}
	if len(b.Records) > 1 {
		r.most = max(r.most, size)
	}
	refuse := r.refuse > 0
	if refuse {
		r.refuse--
	} else {
		for _, rec := range b.Records {
			rec.Raw, rec.Data = bytes.Clone(rec.Raw), bytes.Clone(rec.Data)
			r.stored = append(r.stored, rec)
		}
		r.pos = b.Next
	}
	r.mu.Unlock()
	if refuse {
		return r.d.Refuse(ctx, b.Next, sdk.ReasonFull)
	}
	for range b.Records {
		r.came <- struct{}{}
	}
	return r.d.Ack(ctx, b.Next)
}

// kill ends the device without a word to its instruments.
func (r *rig) kill() {
	r.cancel()
	r.jobs.Wait()
}

// await waits until so many records have come since the last call.
func (r *rig) await(n int) {
	r.t.Helper()
	for range n {
		select {
		case <-r.came:
		case <-time.After(30 * time.Second):
			r.t.Fatalf("a record is missing; %d are stored\n%s", len(r.records()), r.log.String())
		}
	}
}

func (r *rig) records() []sdk.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stored)
}

// ids counts how often each record was stored.
func (r *rig) ids() map[string]int {
	m := map[string]int{}
	for _, rec := range r.records() {
		m[rec.ID]++
	}
	return m
}

// kinds lists kind, reason and message label of what is stored.
func (r *rig) kinds() string {
	var list []string
	for _, rec := range r.records() {
		list = append(list, strings.TrimSpace(rec.Kind+" "+rec.Labels[sdk.LabelReason]+rec.Labels[labelMessage]))
	}
	return strings.Join(list, ", ")
}

// caller is an instrument's end of a connection.
type caller struct {
	t testing.TB
	net.Conn
}

// call calls the device.
func (r *rig) call() *caller {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.settings["port"].(string), listens))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &caller{r.t, conn}
}

// say writes all, and expect hears exactly so much.
func (c *caller) say(texts ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(texts, "")); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		c.t.Fatalf("%q after %v, want %q", got[:n], err, want)
	}
}

// ends waits for the connection's end.
func (c *caller) ends() {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%d bytes, %v", n, err)
	}
}

// text is a message; number makes it another one.
func text(number string) string {
	return "H|\\^&|||LAB|||||||P|1|20250314091500\rP|1|" + secret + number + "|||" + secret + "\rO|1|SP\rR|1|^^^GLU|98|||||F||||20250314091500\rL|1|N\r"
}

// frames are those of a message, each a string.
func frames(message string) (list []string) {
	for _, f := range astm.Frames([]byte(message), astm.MaxText) {
		list = append(list, string(f))
	}
	return list
}

// patients are the ids of the stored exams, in order.
func (r *rig) patients() (list []string) {
	r.t.Helper()
	for _, rec := range r.records() {
		if rec.Kind == exam.Kind {
			e, err := exam.Decode(rec.Data)
			if err != nil {
				r.t.Fatal(err)
			}
			list = append(list, strings.TrimPrefix(e.Patient.ID, secret))
		}
	}
	return list
}
