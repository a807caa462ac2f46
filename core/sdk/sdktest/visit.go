package sdktest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// visit is one rule's destination, and what the host keeps of its one sink.
type visit struct {
	t       testing.TB
	s       *Sink
	to      Destination
	proc    *process
	state   string
	blobs   string
	host    *faults
	id      uint32 // of store and cache, for this process
	stream  *wire.SinkRun
	gate    sync.Mutex  // held: the host does not read
	group   *life.Group // of the stream
	answers chan wire.Outcome
	number  uint64
	seq     uint64
	when    string // what was done to it before, for the texts
}

func newVisit(t testing.TB, s *Sink) *visit {
	t.Helper()
	if s.Destination == nil {
		t.Skip(missing("a destination", "--destination"))
	}
	return visitWith(t, s, s.Destination(t))
}

// newVisitOfSettings is for a rule that writes nothing: the destination may be missing, where the settings are there.
func newVisitOfSettings(t testing.TB, s *Sink) *visit {
	t.Helper()
	if s.Destination != nil {
		return newVisit(t, s)
	}
	v := visitWith(t, s, Destination{})
	if !fits(&v.proc.manifest, v.to.Settings) {
		t.Skip(missing("settings with which the plugin opens", "--destination, or settings with --settings"))
	}
	return v
}

func visitWith(t testing.TB, s *Sink, to Destination) *visit {
	t.Helper()
	dir := t.TempDir()
	v := &visit{t: t, s: s, to: to, state: filepath.Join(dir, "state"), blobs: filepath.Join(dir, "blobs")}
	v.to.Settings = merged(to.Settings, s.Settings)
	if v.to.Store == nil {
		v.to.Store = &Store{}
	}
	v.host = newFaults(v.to.Store)
	if err := errors.Join(os.MkdirAll(v.state, 0o700), os.MkdirAll(v.blobs, 0o700)); err != nil {
		t.Fatalf("prepare folders: %v", err)
	}
	v.begin()
	return v
}

// begin starts a process and serves its store and cache.
func (v *visit) begin() {
	v.t.Helper()
	v.proc = start(v.t, v.s.Binary)
	id, run := v.proc.conn.ServeStore(v.host, v.host)
	v.id = id
	v.proc.group.Go("store", func(context.Context) error {
		run()
		return nil
	})
}

// tryOpen opens the sink with the destination's settings, changed by more.
func (v *visit) tryOpen(more map[string]any) error {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), openTime)
	defer cancel()
	return v.proc.conn.OpenSink(ctx, v.opening(more))
}

func (v *visit) opening(more map[string]any) wire.OpenSink {
	v.t.Helper()
	return wire.OpenSink{
		Name: "conformance", Settings: settingsJSON(v.t, merged(v.to.Settings, more)), StateDir: v.state, BlobDir: v.blobs, BrokerID: v.id, LogLevel: "info",
	}
}

// inspect asks the sink what it finds, as `hostd check` does.
func (v *visit) inspect() ([]sdk.Finding, error) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), openTime)
	defer cancel()
	return v.proc.conn.CheckSink(ctx, v.opening(nil))
}

// folders names what is in the folders that the host gave to the sink.
func (v *visit) folders() string {
	v.t.Helper()
	var names []string
	for _, dir := range []string{v.state, v.blobs} {
		list, err := os.ReadDir(dir)
		if err != nil {
			v.t.Fatalf("look into folder: %v", err)
		}
		for _, e := range list {
			names = append(names, e.Name())
		}
	}
	return fmt.Sprintf("%q", names)
}

// open opens the sink and starts its stream.
func (v *visit) open() {
	v.t.Helper()
	if err := v.tryOpen(nil); err != nil {
		v.t.Fatalf("Open: %v%s", err, after(v.when))
	}
	v.group, v.answers, v.number = life.NewGroup(v.t.Context()), make(chan wire.Outcome, 64), 0
	stream, err := v.proc.conn.RunSink(v.group.Context())
	if err != nil {
		v.t.Fatalf("Run: %v", err)
	}
	v.stream = stream
	answers := v.answers
	v.group.Go("outcomes", func(ctx context.Context) error {
		defer close(answers)
		for {
			v.gate.Lock()
			v.gate.Unlock() //nolint:staticcheck // it waits until the host reads again
			o, err := stream.Recv()
			if err != nil {
				return err
			}
			select {
			case answers <- o:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// after tells what was done before; nothing is not told.
func after(when string) string {
	if when == "" {
		return ""
	}
	return " (before, " + when + ")"
}

// end ends the stream.
func (v *visit) end() {
	v.group.Cancel()
	_ = v.group.Wait() // its error is how the stream ended
}

// close ends the stream and closes the sink.
func (v *visit) close() {
	v.t.Helper()
	v.end()
	if err := v.closeSink(); err != nil {
		v.t.Fatalf("Close: %v", err)
	}
}

// send hands a batch over; again marks the first one after a failure. The records get their stamps here.
func (v *visit) send(again bool, records []sdk.Record) {
	v.t.Helper()
	v.number++
	out := wire.NewOutgoing(1 << 20)
	out.Head(v.number, "")
	if again {
		out.Again()
	}
	for i := range records {
		v.seq++
		out.Raw(wire.AppendRecord(nil, &records[i]), "conformance", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano(), v.seq)
	}
	if err := v.stream.Send(out); err != nil {
		v.t.Fatalf("Write: send batch %d: %v", v.number, err)
	}
}

// outcome is the next answer.
func (v *visit) outcome() wire.Outcome {
	v.t.Helper()
	over := time.NewTimer(sinkTime)
	defer over.Stop()
	select {
	case o, ok := <-v.answers:
		if !ok {
			v.t.Fatalf("Write: the stream ended before the outcome: %v", v.group.Wait())
		}
		return o
	case <-over.C:
		v.t.Fatalf("Write: no outcome within %v", sinkTime)
	}
	return wire.Outcome{}
}

// write sends one batch, which must be stored whole.
func (v *visit) write(records []sdk.Record) {
	v.t.Helper()
	v.send(false, records)
	if o := v.outcome(); o.Failure != nil || len(o.Errors) > 0 {
		v.t.Fatalf("Write: a batch of %d good records is not stored: %v", len(records), say(o))
	}
}

// say puts an outcome into words.
func say(o wire.Outcome) string {
	return fmt.Sprintf("failure %v, refused records %v", o.Failure, o.Errors)
}

// check compares what the destination holds with the records that it must hold. Once is whether more than once is wrong.
func (v *visit) check(once bool, want ...[]sdk.Record) {
	v.t.Helper()
	held := map[string]int{}
	for _, id := range v.to.Stored(v.t) {
		held[id]++
	}
	for _, r := range slices.Concat(want...) {
		switch n := held[r.ID]; {
		case n == 0:
			v.t.Errorf("Write: record %s is answered for and not stored", r.ID)
		case n > 1 && once:
			v.t.Errorf("Write: record %s is stored %d times", r.ID, n)
		}
		delete(held, r.ID)
	}
	for id := range held {
		v.t.Errorf("Write: record %s is stored, and was not answered for", id)
	}
}

// exams makes invented records, numbered from a number that no other call of the rule has.
func exams(t testing.TB, from, n int) []sdk.Record {
	t.Helper()
	list := make([]sdk.Record, n)
	for i := range list {
		number := from + i
		taken := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Second)
		data, err := exam.Encode(&exam.Exam{
			Patient: exam.Patient{ID: fmt.Sprintf("P-%06d", number), Name: "Muster Anna"},
			Device:  exam.Device{Make: "hostd", Model: "sdktest", Serial: "0"},
			TakenAt: taken.Format(time.RFC3339),
			Observations: []exam.Observation{
				{Code: exam.CodeIOP, Eye: exam.Right, Value: exam.Number(float64(10 + number%12)), Unit: exam.UnitMMHg, Method: exam.MethodTono},
			},
		})
		if err != nil {
			t.Fatalf("encode exam: %v", err)
		}
		list[i] = sdk.Record{
			ID: fmt.Sprintf("exam-%d", number), Kind: exam.Kind, Time: taken, ContentType: exam.ContentType, Data: data,
			Raw: fmt.Appendf(nil, "raw of exam %d", number), Labels: map[string]string{"suite": "sdktest"}, Patient: fmt.Sprintf("P-%06d", number),
		}
	}
	return list
}

// attach puts content into the blob folder as the host does, and names it in the record.
func (v *visit) attach(r *sdk.Record, content []byte) {
	v.t.Helper()
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	dir := filepath.Join(v.blobs, hash[:2])
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, hash), content, 0o600)); err != nil {
		v.t.Fatalf("keep attachment: %v", err)
	}
	r.Attachments = append(r.Attachments, sdk.Attachment{Name: "image.jpg", ContentType: "image/jpeg", Size: int64(len(content)), Hash: hash})
}
