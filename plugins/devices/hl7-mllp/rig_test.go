package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk"
)

// rig is a host with one device, and its disk. It may be opened again and again.
type rig struct {
	t        testing.TB
	d        *device
	settings map[string]any
	staging  string
	blobs    string // attachments that the host has taken
	virtual  bool   // it runs in virtual time: senders come by pipe

	mu      sync.Mutex
	pos     sdk.Position          // guarded by mu, as all that follows
	stored  map[string]sdk.Record // on the host's disk, by ID
	order   []string              // IDs as they came
	refuse  sdk.Reason            // what the host says to every batch, where it is not empty
	readErr error

	log     bytes.Buffer
	logMu   sync.Mutex
	cancel  context.CancelFunc
	running sync.WaitGroup
	hold    chan struct{} // where it is there, the host waits for it before it answers
}

// secret is in the name of every person here: it must not come out anywhere but in records.
const secret = "Geheim"

func newRig(t testing.TB, settings map[string]any) *rig {
	t.Helper()
	r := &rig{t: t, settings: map[string]any{"listen": "127.0.0.1:0"}, stored: map[string]sdk.Record{}, staging: t.TempDir(), blobs: t.TempDir()}
	maps.Copy(r.settings, settings)
	t.Cleanup(func() {
		r.close()
		r.logMu.Lock()
		defer r.logMu.Unlock()
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("a name is in the log:\n%s", r.log.String())
		}
	})
	return r
}

// Write takes the log's lines.
func (r *rig) Write(p []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(p)
}

// newVirtualRig is newRig in virtual time.
func newVirtualRig(t testing.TB, settings map[string]any) *rig {
	t.Helper()
	r := newRig(t, settings)
	r.virtual = true
	return r
}

func (r *rig) env(ctx context.Context) sdk.Env {
	text, err := json.Marshal(r.settings)
	if err != nil {
		r.t.Fatal(err)
	}
	return sdk.Env{
		Name: "mllp", Settings: sdk.NewSettings(text), StagingDir: r.staging,
		Log:  slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Wire: func(_ string, conn io.ReadWriteCloser) io.ReadWriteCloser { return conn },
		Go: func(f func(ctx context.Context) error) {
			r.running.Go(func() {
				if err := f(ctx); err != nil && ctx.Err() == nil {
					r.t.Errorf("a goroutine of the device has failed: %v", err)
				}
			})
		},
	}
}

// open starts the device at the last stored position, and a host that takes what it reads.
func (r *rig) open() error {
	r.close()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.d, r.readErr = cancel, &device{}, nil
	r.mu.Lock()
	from := r.pos
	r.mu.Unlock()
	if err := r.openDevice(ctx, from); err != nil {
		return err
	}
	r.running.Go(func() { r.host(ctx) })
	return nil
}

// openDevice is the device's Open; in virtual time, where a port is no part of, all of it but that.
func (r *rig) openDevice(ctx context.Context, from sdk.Position) error {
	env := r.env(ctx)
	if !r.virtual {
		return r.d.Open(ctx, env, from)
	}
	err := env.Settings.Decode(r.d)
	if err == nil {
		err = r.d.check()
	}
	if err == nil {
		r.d.session, err = newSession(r.d, env, from)
	}
	if s := r.d.session; err == nil {
		env.Go(func(ctx context.Context) error { <-ctx.Done(); s.hangUp(); return nil })
	}
	return err
}

func (r *rig) mustOpen() *rig {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.running.Wait()
	if err := r.d.Close(context.Background()); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.cancel = nil
}

// host reads, stores and answers, until ctx ends or the device fails.
func (r *rig) host(ctx context.Context) {
	for {
		b, err := r.d.Read(ctx)
		if err != nil {
			r.mu.Lock()
			r.readErr = err
			r.mu.Unlock()
			return
		}
		if r.hold != nil {
			select {
			case <-r.hold:
			case <-ctx.Done():
				return
			}
		}
		r.mu.Lock()
		why := r.refuse
		if why == "" {
			r.keep(b)
		}
		r.mu.Unlock()
		if why == "" {
			err = r.d.Ack(ctx, b.Next)
		} else {
			err = r.d.Refuse(ctx, b.Next, why)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
}

// keep is the host's fsync. The caller holds mu.
func (r *rig) keep(b sdk.Batch) {
	r.pos = b.Next
	if len(b.Next) > sdk.MaxPosition {
		r.t.Errorf("position of %d bytes", len(b.Next))
	}
	for _, rec := range b.Records {
		rec.Data, rec.Raw, rec.Attachments = bytes.Clone(rec.Data), bytes.Clone(rec.Raw), slices.Clone(rec.Attachments)
		for i := range rec.Attachments {
			a := &rec.Attachments[i]
			taken := filepath.Join(r.blobs, filepath.Base(a.Path))
			if err := os.Rename(a.Path, taken); err != nil {
				r.t.Error(err)
			}
			a.Path = taken
		}
		if old, ok := r.stored[rec.ID]; ok && old.ContentHash() != rec.ContentHash() {
			r.t.Errorf("identity conflict of %s", rec.ID)
		}
		r.stored[rec.ID] = rec
		r.order = append(r.order, rec.ID)
	}
}

func (r *rig) told(why sdk.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = why
}

// records are what is stored, in the order in which it came, twice what came twice.
func (r *rig) records() (list []sdk.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.order {
		list = append(list, r.stored[id])
	}
	return list
}

// kinds are those of the records, joined by blanks.
func (r *rig) kinds() string {
	var kinds []string
	for _, rec := range r.records() {
		kind := rec.Kind
		if kind == sdk.KindReject {
			kind = rec.Labels[sdk.LabelReason]
		}
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, " ")
}

// peer is a sender's end of a connection.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// pipe connects a sender over net.Pipe, of which each write is one read of the device.
func (r *rig) pipe() *peer {
	r.t.Helper()
	ours, theirs := net.Pipe()
	s := r.d.session
	s.env.Go(func(ctx context.Context) error {
		if err := s.converse(ctx, ours, netip.MustParseAddr("127.0.0.1")); err != nil {
			s.env.Log.Debug("a connection has ended", "err", err)
		}
		return nil
	})
	return r.peerOn(theirs)
}

// dial connects a sender over TCP.
func (r *rig) dial() *peer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.d.session.at.String())
	if err != nil {
		r.t.Fatal(err)
	}
	return r.peerOn(conn)
}

func (r *rig) peerOn(conn net.Conn) *peer {
	r.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return &peer{t: r.t, conn: conn, in: bufio.NewReader(conn)}
}

func (p *peer) say(text string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatalf("say %d bytes: %v", len(text), err)
	}
}

// hear is the next frame's code and MSA-2, with a blank between; or the error of the end.
func (p *peer) hear() string {
	text, err := p.in.ReadString(fs[0])
	if err != nil {
		return "closed"
	}
	if _, err := p.in.Discard(1); err != nil {
		p.t.Fatal(err)
	}
	text = strings.TrimPrefix(strings.TrimSuffix(text, fs), vt)
	switch text {
	case ack:
		return "ack"
	case nak:
		return "nak"
	}
	a, err := hl7.ParseReply([]byte(text))
	if err != nil {
		p.t.Fatalf("%v: %q", err, text)
	}
	return strings.TrimSpace(string(a.Code) + " " + a.ID)
}

// want hears these.
func (p *peer) want(replies ...string) {
	p.t.Helper()
	for i, w := range replies {
		if got := p.hear(); got != w {
			p.t.Fatalf("reply %d is %q, want %q", i, got, w)
		}
	}
}

// oru is a result of an invented person under a control id, with more in MSH from field 15 on.
func oru(id, value string, more ...string) string {
	return "MSH|^~\\&|EYESIM|CLINIC01|HOSTD|CLINIC01|20250314101530||ORU^R01^ORU_R01|" + id + "|P|2.5.1" + strings.Join(append([]string{""}, more...), "|") + "\r" +
		"PID|1||T-000421^^^CLINIC01^MR||" + secret + "^Probe||19700315|F\r" +
		"OBR|1||EX-1|autoref^Autorefraction^99EYE|||20250314090500\r" +
		"OBX|1|NM|sphere^sphere^99EYE|R.0|" + value + "|[diop]^^UCUM|||||F\r"
}

func frame(message string) string { return vt + message + fs + cr }

func (r *rig) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readErr
}

// connected is how many peers are being served.
func (s *session) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (b *budget) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
