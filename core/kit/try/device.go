package try

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

const (
	pollLimit   = 30 * time.Second // of one poll
	pollEvery   = 5 * time.Second  // where nothing else is said
	reopenPause = time.Second      // after a device ended its stream, and before a refusal: a full disk is no faster
)

// device opens the device, shows and answers its batches, and opens it again when it ends its stream, until ctx ends.
func (t *trial) device(ctx context.Context) error {
	every := t.Every
	if text := t.proc.Manifest.Every; every == 0 && text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("the manifest's every: %w", err)
		}
		every = d
	}
	for {
		s := &session{t: t, every: cmp.Or(every, pollEvery)}
		err := s.run(ctx)
		closed := t.closeDevice(ctx)
		if t.Wire {
			var looked error
			t.seen, looked = s.line(t.seen)
			closed = errors.Join(closed, looked)
		}
		t.say.closed(s.open)
		if ctx.Err() != nil {
			return closed
		}
		err = errors.Join(err, closed)
		if errors.Is(err, wire.ErrGone) || errors.Is(err, errOpen) {
			return err
		}
		t.say.event("ended", fields{"err": text(err)}, "the device ended its stream, and is opened again: %v", err)
		if err := pause(ctx, reopenPause); err != nil {
			return nil //nolint:nilerr // the person has ended it
		}
	}
}

// errOpen is a device that does not open.
var errOpen = errors.New("open")

// closeDevice closes after the end of ctx, too.
func (t *trial) closeDevice(ctx context.Context) error {
	ctx, cancel := t.bounded(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if err := t.proc.Conn.CloseDevice(ctx); err != nil && !errors.Is(err, wire.ErrGone) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// session is the time from one Open to its Close.
type session struct {
	t      *trial
	stream *wire.DeviceRun
	every  time.Duration
	open   []uint64 // messages without an answer
}

func (s *session) run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	g := life.NewGroup(ctx)
	defer func() { _ = g.Wait() }() // it returns no error: how the stream ended comes over a channel
	defer cancel()
	run, err := s.t.proc.Conn.RunDevice(ctx)
	if err != nil {
		return err
	}
	s.stream = run
	mail, ended := make(chan *wire.Incoming), make(chan error, 1)
	g.Go("batches", func(ctx context.Context) error {
		for {
			in := &wire.Incoming{Keep: true}
			if err := run.Recv(in); err != nil {
				ended <- err
				return nil
			}
			select {
			case mail <- in:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return s.take(ctx, mail, ended)
}

// begin opens the device at the position of the last acknowledgement.
func (s *session) begin(ctx context.Context) error {
	settings, err := s.t.settings()
	if err != nil {
		return err
	}
	position, err := os.ReadFile(s.t.path("position"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the position: %w", err)
	}
	staging := s.t.path("staging")
	if err := errors.Join(os.RemoveAll(staging), os.MkdirAll(staging, 0o700)); err != nil {
		return fmt.Errorf("empty the staging folder: %w", err)
	}
	s.t.say.opening(string(position), s.t.State)
	ctx, cancel := s.t.bounded(ctx, openTime)
	defer cancel()
	return s.t.proc.Conn.OpenDevice(ctx, wire.OpenDevice{
		Name: s.t.proc.Manifest.Name, Settings: settings, Position: position, StateDir: s.t.path("state"), StagingDir: staging, LogLevel: "debug",
	})
}

// take shows and answers what comes.
func (s *session) take(ctx context.Context, mail <-chan *wire.Incoming, ended <-chan error) error {
	var due, look <-chan time.Time
	if s.t.proc.Manifest.Polled {
		due = time.After(0)
	}
	if s.t.Wire {
		tick := time.NewTicker(lineEvery)
		defer tick.Stop()
		look = tick.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look:
			var err error
			if s.t.seen, err = s.line(s.t.seen); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-due:
			due = nil
			if err := s.poll(); err != nil {
				return err
			}
		case in := <-mail:
			switch {
			case in.Wake:
				due = time.After(0)
			case in.Idle:
				due = time.After(s.every)
			default:
				if err := s.batch(ctx, in); err != nil {
					return err
				}
			}
		}
	}
}

func (s *session) poll() error {
	limit := pollLimit
	if s.t.Attach != "" {
		limit = 24 * time.Hour
	}
	return s.stream.Send(wire.Answer{PollMillis: uint32(limit.Milliseconds())})
}

// batch shows a message and answers it.
func (s *session) batch(ctx context.Context, in *wire.Incoming) error {
	s.open = append(s.open, in.Number)
	records := make([]sdk.Record, len(in.Records))
	var dec wire.Decoder
	for i, body := range in.Records {
		var head wire.Head
		if err := errors.Join(wire.Scan(body, &head), dec.Record(body, &records[i])); err != nil {
			return fmt.Errorf("record %d of the batch, which a host refuses as invalid: %w", i, err)
		}
	}
	s.t.say.batch(in.Number, len(records), string(in.Next))
	for i := range records {
		s.t.show(&records[i], len(in.Records[i]))
	}
	answer, err := s.answer(ctx)
	if err != nil {
		return err
	}
	switch answer {
	case Ack:
		return s.ack(in, records)
	case Refuse:
		if err := pause(ctx, reopenPause); err != nil {
			return nil //nolint:nilerr // the person has ended it
		}
		s.open = nil
		s.t.say.event("refused", fields{"batch": in.Number, "reason": sdk.ReasonFull}, "refused %d: %s", in.Number, sdk.ReasonFull)
		return s.stream.Send(wire.Answer{Refused: in.Number, Reason: sdk.ReasonFull})
	}
	return nil
}

// answer is what the person wants.
func (s *session) answer(ctx context.Context) (string, error) {
	for s.t.Answer == Ask {
		s.t.say.event("ask", nil, "acknowledge, refuse or leave it? a, r, n")
		select {
		case <-ctx.Done():
			return None, nil
		case line, ok := <-s.t.lines:
			if !ok {
				return "", errors.New("the standard input ended, and nobody answers")
			}
			if word, ok := map[string]string{"a": Ack, "r": Refuse, "n": None}[line]; ok {
				return word, nil
			}
		}
	}
	return s.t.Answer, nil
}

// ack takes the attachments over and keeps the position, and only then says so.
func (s *session) ack(in *wire.Incoming, records []sdk.Record) error {
	for i := range records {
		for _, a := range records[i].Attachments {
			name := filepath.Base(a.Path)
			if err := os.Rename(s.t.path("staging", name), s.t.path("attachments", filepath.Base(a.Hash))); err != nil {
				return fmt.Errorf("take over the attachment, which a host refuses as invalid: %w", err)
			}
		}
	}
	if len(in.Next) > 0 {
		if err := os.WriteFile(s.t.path("position"), in.Next, 0o600); err != nil {
			return fmt.Errorf("keep the position: %w", err)
		}
	}
	s.open = nil
	s.t.say.event("acknowledged", fields{"batch": in.Number}, "acknowledged %d", in.Number)
	return s.stream.Send(wire.Answer{Ack: in.Number})
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
