package sdktest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

var (
	errQuiet = errors.New("nothing came")
	errEnded = errors.New("the device ended its stream")
)

// Timing of a polled device.
const (
	pollTime  = 300 * time.Millisecond // limit of one poll
	pollPause = 50 * time.Millisecond  // between two
)

// trial is one rule's instrument, and what the host keeps of its one device.
type trial struct {
	t       testing.TB
	d       *Device
	in      Instrument
	total   int // records that the instrument has given or will give
	proc    *process
	state   string
	staging string
	at      sdk.Position // last acknowledged
	s       *session
	when    string // what was done to it before, for the texts
}

// newTrial makes a fresh instrument and starts the plugin.
func newTrial(t testing.TB, d *Device) *trial {
	t.Helper()
	if d.Instrument == nil {
		t.Skip(missing("an instrument", "--instrument"))
	}
	return tryWith(t, d, d.Instrument(t))
}

// newTrialOfSettings is for a rule that reads nothing: the instrument may be missing, where the settings are there.
func newTrialOfSettings(t testing.TB, d *Device) *trial {
	t.Helper()
	if d.Instrument != nil {
		return newTrial(t, d)
	}
	tr := tryWith(t, d, Instrument{})
	if !fits(&tr.proc.manifest, tr.in.Settings) {
		t.Skip(missing("settings with which the plugin opens", "--instrument, or settings with --settings"))
	}
	return tr
}

func tryWith(t testing.TB, d *Device, in Instrument) *trial {
	t.Helper()
	dir := t.TempDir()
	tr := &trial{t: t, d: d, in: in, total: in.Records, state: filepath.Join(dir, "state"), staging: filepath.Join(dir, "staging")}
	tr.in.Settings = merged(in.Settings, d.Settings)
	tr.proc = start(t, d.Binary)
	return tr
}

// give makes the instrument give n records more; one that holds all from the beginning gives no more.
func (tr *trial) give(n int) {
	tr.t.Helper()
	if tr.in.Produce != nil {
		tr.in.Produce(n)
		tr.total += n
	}
}

// tryOpen opens the device at the last acknowledged position with the instrument's settings, changed by more.
func (tr *trial) tryOpen(more map[string]any) error {
	tr.t.Helper()
	opening := tr.opening(more)
	ctx, cancel := context.WithTimeout(tr.t.Context(), openTime)
	defer cancel()
	return tr.proc.conn.OpenDevice(ctx, opening)
}

// opening prepares an Open as the host does.
func (tr *trial) opening(more map[string]any) wire.OpenDevice {
	tr.t.Helper()
	if err := errors.Join(os.RemoveAll(tr.staging), os.MkdirAll(tr.staging, 0o700), os.MkdirAll(tr.state, 0o700)); err != nil {
		tr.t.Fatalf("prepare folders: %v", err)
	}
	return wire.OpenDevice{
		Name: "conformance", Settings: settingsJSON(tr.t, merged(tr.in.Settings, more)), Position: []byte(tr.at),
		StateDir: tr.state, StagingDir: tr.staging, LogLevel: "info",
	}
}

// open opens the device and starts its stream.
func (tr *trial) open() *session {
	tr.t.Helper()
	if err := tr.tryOpen(nil); err != nil {
		tr.t.Fatalf("Open: %v%s", err, after(tr.when))
	}
	s := &session{tr: tr, group: life.NewGroup(tr.t.Context()), mail: make(chan *batch, 1024), polled: tr.proc.manifest.Polled}
	run, err := tr.proc.conn.RunDevice(s.group.Context())
	if err != nil {
		tr.t.Fatalf("Run: %v", err)
	}
	s.run, tr.s = run, s
	s.group.Go("batches", s.receive)
	return s
}

// tryClose closes the device as the contract says, while its stream runs.
func (tr *trial) tryClose() error {
	ctx, cancel := context.WithTimeout(tr.t.Context(), closeTime)
	defer cancel()
	return tr.proc.conn.CloseDevice(ctx)
}

// close ends the stream and closes the device.
func (tr *trial) close() {
	tr.t.Helper()
	if err := tr.tryClose(); err != nil {
		tr.t.Fatalf("Close: %v", err)
	}
	tr.s.end()
}

// restart begins a new process at the last acknowledged position. The old one was stopped or killed.
func (tr *trial) restart() *session {
	tr.t.Helper()
	if tr.s != nil {
		tr.s.end()
	}
	tr.proc = start(tr.t, tr.d.Binary)
	return tr.open()
}

// session is the time from one Open to its Close.
type session struct {
	tr      *trial
	run     *wire.DeviceRun
	group   *life.Group
	mail    chan *batch // closed when the stream has ended
	gate    sync.Mutex  // held: the host does not read
	polled  bool
	polling bool
	pause   <-chan time.Time
}

// batch is one message, or several that are one batch.
type batch struct {
	number  uint64
	next    sdk.Position
	records []sdk.Record
	sizes   []int // of the records in bytes
	size    int   // of the message
	idle    bool
	wake    bool
	broken  error // a record that the host would refuse
}

// receive reads the stream to its end.
func (s *session) receive(ctx context.Context) error {
	defer close(s.mail)
	for {
		s.gate.Lock()
		s.gate.Unlock() //nolint:staticcheck // it waits until the host reads again
		in := wire.Incoming{Keep: true}
		if err := s.run.Recv(&in); err != nil {
			return err
		}
		select {
		case s.mail <- decode(&in):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func decode(in *wire.Incoming) *batch {
	b := &batch{number: in.Number, next: sdk.Position(in.Next), size: in.Size(), idle: in.Idle, wake: in.Wake}
	b.records = make([]sdk.Record, len(in.Records))
	var dec wire.Decoder
	var head wire.Head
	for i, body := range in.Records {
		b.sizes = append(b.sizes, len(body))
		if err := errors.Join(wire.Scan(body, &head), dec.Record(body, &b.records[i])); err != nil && b.broken == nil {
			b.broken = fmt.Errorf("record %d: %w", i, err)
		}
	}
	return b
}

// message is the next one that carries records or a position.
func (s *session) message(wait time.Duration) (*batch, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		if err := s.poll(); err != nil {
			return nil, err
		}
		select {
		case b, ok := <-s.mail:
			switch {
			case !ok:
				return nil, errEnded
			case b.idle:
				s.polling, s.pause = false, time.After(pollPause)
			case !b.wake:
				return b, nil
			}
		case <-s.pause:
			s.pause = nil
		case <-over.C:
			return nil, errQuiet
		}
	}
}

// poll tells a polled device to read, unless it does or has just done.
func (s *session) poll() error {
	if !s.polled || s.polling || s.pause != nil {
		return nil
	}
	s.polling = true
	if err := s.run.Send(wire.Answer{PollMillis: uint32(pollTime.Milliseconds())}); err != nil {
		return errEnded
	}
	return nil
}

// batch is the next one, with all its messages: only the last of them carries the position. A batch that moves no
// position ends when nothing follows.
func (s *session) batch() (*batch, error) {
	all, err := s.message(s.tr.d.Wait)
	for err == nil && all.next == "" {
		more, quietErr := s.message(quiet)
		if quietErr != nil {
			return all, nil
		}
		more.records = append(all.records, more.records...)
		all = more
	}
	return all, err
}

// mustBatch is the next batch with records, or the end of the rule.
func (s *session) mustBatch() *batch {
	s.tr.t.Helper()
	for {
		b, err := s.batch()
		if err != nil {
			s.tr.t.Fatalf("Read: wait for records: %v%s", err, after(s.tr.when))
		}
		if len(b.records) > 0 {
			return b
		}
		s.ack(b)
	}
}

// ack says that the batch is on the disk: its attachments are the host's from now on.
func (s *session) ack(b *batch) {
	s.tr.t.Helper()
	for i := range b.records {
		for _, a := range b.records[i].Attachments {
			_ = os.Remove(filepath.Join(s.tr.staging, filepath.Base(a.Path))) // checkAttachment says what is missing
		}
	}
	if b.next != "" {
		s.tr.at = b.next
	}
	if err := s.run.Send(wire.Answer{Ack: b.number}); err != nil {
		s.tr.t.Fatalf("Ack: %v", err)
	}
}

// drain reads and acknowledges until n different records were seen besides the given ones, or nothing more comes.
func (s *session) drain(n int, seen map[string]bool) {
	s.tr.t.Helper()
	for n -= len(seen); n > 0; {
		b, err := s.batch()
		if err != nil {
			return
		}
		for i := range b.records {
			if id := b.records[i].ID; !seen[id] {
				seen[id] = true
				n--
			}
		}
		s.ack(b)
	}
}

// end ends the stream.
func (s *session) end() {
	s.group.Cancel()
	_ = s.group.Wait() // its error is how the stream ended
}

// checkAttachment compares a staged file with what the record says of it.
func checkAttachment(staging string, a *sdk.Attachment) error {
	if a.Path == "" || filepath.Base(a.Path) != a.Path {
		return errors.New("attachment is not named by a bare file name of the staging folder")
	}
	content, err := os.ReadFile(filepath.Join(staging, a.Path))
	if err != nil {
		return fmt.Errorf("read staged attachment: %w", err)
	}
	sum := sha256.Sum256(content)
	if a.Size != int64(len(content)) || a.Hash != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("attachment of %d bytes has another size or hash than its record says", len(content))
	}
	return nil
}

// ids are a batch's record ids.
func (b *batch) ids() map[string]bool {
	set := map[string]bool{}
	for i := range b.records {
		set[b.records[i].ID] = true
	}
	return set
}
