package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

// device reads one instrument. Read, Ack and Refuse do not overlap: its window is 1.
type device struct {
	line.Settings
	Choice
	Silence time.Duration `setting:"silence" default:"0s" min:"0" max:"10" help:"silence that ends a frame or, in a capture, a burst; 0 is the profile's, or 200ms"`
	Idle    time.Duration `setting:"idle" default:"10s" min:"0.1" max:"600" help:"silence after which a frame that has no end counts as cut"`

	env  sdk.Env
	p    *lineprofile.Profile // nil: a capture
	port *line.Port
	in   *lineprofile.Framer
	read *lineprofile.Reader
	at   place

	open     *handed   // the batch that waits for its answer
	note     bool      // at.told is to be stored, where no other frame comes
	lastAt   time.Time // when the last frame came, or a copy of it
	answered int64     // bytes that had come before the last answer
	crossed  bool      // a copy that may have crossed the answer was let go
}

// handed is a batch that Read gave, and what is to be done when it is stored.
type handed struct {
	batch   sdk.Batch
	next    place
	say     []byte // what the instrument is to hear, or nothing
	frame   bool   // it moves the place
	refused bool
}

const (
	noteAfter   = 250 * time.Millisecond // silence behind an answer before it is noted that it was given
	refusePause = time.Second            // before a refused batch is given again
	drainFor    = time.Millisecond       // silence that shows that nothing more has come before an answer
	drainMost   = 64                     // pieces that may come meanwhile
)

// Open chooses the profile and opens the line. What the instrument needs up to from, it gets when it sends again.
func (d *device) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := d.prepare(env, from); err != nil {
		return err
	}
	port, err := line.Open(ctx, env, d.Settings, mode(d.p))
	if err != nil {
		return err
	}
	d.port = port
	if d.p != nil {
		env.Log.Info("listening", "profile", d.p.Name, "status", d.p.Status, "line", d.Mode(mode(d.p)).String())
	}
	return nil
}

// prepare is Open without the line. Nothing is left of a session before.
func (d *device) prepare(env sdk.Env, from sdk.Position) error {
	*d = device{env: env}
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	var err error
	if d.p, err = d.load(); err != nil {
		return err
	}
	if d.p != nil {
		d.in, d.read = d.p.NewFramer(), d.p.NewReader()
	}
	d.at, err = placeOf(from)
	return err
}

// Read waits for the next frame, or for what is none.
func (d *device) Read(ctx context.Context) (sdk.Batch, error) {
	switch {
	case d.open != nil && d.open.refused:
		select {
		case <-ctx.Done():
			return sdk.Batch{}, ctx.Err()
		case <-time.After(refusePause):
		}
		return d.open.batch, nil
	case d.p == nil:
		return d.burst(ctx)
	}
	for {
		piece, err := d.piece(ctx)
		switch {
		case err != nil:
			return sdk.Batch{}, err
		case len(piece.Data) == 0: // it was silent
			d.note = false
			return sdk.Batch{Next: d.at.position()}, nil
		}
		if d.open, err = d.take(ctx, &piece); err != nil {
			return sdk.Batch{}, err
		}
		if d.open != nil {
			d.note = false // the new place says more
			return d.open.batch, nil
		}
	}
}

// piece is the next frame, or what is none; an empty one where a note is to be stored and nothing comes.
func (d *device) piece(ctx context.Context) (lineprofile.Piece, error) {
	for {
		if piece, ok := d.in.Next(); ok {
			return piece, nil
		}
		b, err := d.port.Next(ctx, d.wait())
		if err == nil {
			d.in.Add(b)
			continue
		}
		if ctx.Err() != nil {
			return lineprofile.Piece{}, err
		}
		piece, ok := d.in.Silence()
		silent := errors.Is(err, line.ErrSilence)
		switch {
		case ok && !silent && piece.Reason == "":
			piece.Reason = exam.RejectTruncated // the line went before silence could end the frame
			return piece, nil
		case ok, silent && d.note:
			return piece, nil
		case !silent:
			return lineprofile.Piece{}, err
		}
	}
}

// wait is how long the line may be silent now; 0 is for ever.
func (d *device) wait() time.Duration {
	switch ends := d.p.Ends(); {
	case !d.in.Pending() && d.note:
		return noteAfter
	case !d.in.Pending():
		return 0
	case ends == 0:
		return d.Idle
	case d.Silence > 0:
		return d.Silence
	default:
		return ends
	}
}

// take makes a batch of a piece; nil where it is the last frame once more.
func (d *device) take(ctx context.Context, piece *lineprofile.Piece) (*handed, error) {
	sum := hash(piece.Data)
	if piece.Reason == "" && d.repeated(sum) {
		return nil, d.again(ctx, piece)
	}
	data := bytes.Clone(piece.Data)
	e, reject := d.read.Exam(piece)
	if reject == nil {
		record, err := d.examRecord(e, sum, data)
		if err == nil {
			return d.hand(record, place{stored: d.at.stored + 1, last: sum}, d.p.Answers()), nil
		}
		reject = &exam.Reject{Reason: exam.RejectEmpty, Offset: piece.Offset, Length: int64(len(data)), Detail: "exam breaks the schema: " + err.Error()}
	}
	record := d.rejectRecord(reject, sum, data)
	switch {
	case piece.Reason != "": // nobody waits for an answer, or a whole one comes again
		return d.hand(record, d.at, nil), nil
	case reject.Reason == exam.RejectEmpty: // it came as it was sent, and sending it again would not help
		return d.hand(record, place{stored: d.at.stored, last: sum}, d.p.Answers()), nil
	}
	return d.hand(record, d.at, d.p.Refuses()), nil
}

// hand makes the batch of a record, with the place behind it and what the instrument is to hear when it is stored.
func (d *device) hand(r sdk.Record, next place, say []byte) *handed {
	return &handed{batch: sdk.Batch{Records: []sdk.Record{r}, Next: next.position()}, next: next, say: say, frame: next != d.at}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// repeated says whether a frame is the last one sent again, and not an equal measurement: the instrument may not have heard
// that it is stored, or it comes within the profile's time.
func (d *device) repeated(sum string) bool {
	waits := len(d.p.Answers()) > 0 && !d.at.told
	return sum == d.at.last && (waits || !d.lastAt.IsZero() && time.Since(d.lastAt) <= d.p.Repeat)
}

// again answers a frame that is stored already. One that had come before the last answer, and the first one behind it, which
// may have crossed it, get none: an answer too many would be taken for that of the next exam.
func (d *device) again(ctx context.Context, piece *lineprofile.Piece) error {
	d.lastAt = time.Now()
	switch {
	case len(d.p.Answers()) == 0, d.at.told && piece.End() <= d.answered:
		return nil
	case d.at.told && !d.crossed:
		d.crossed = true
		return nil
	}
	d.at.told, d.note = true, true
	return d.say(ctx, d.p.Answers())
}

// Ack answers the instrument: now it may forget the exam.
func (d *device) Ack(ctx context.Context, _ sdk.Position) error {
	h := d.open
	if h == nil {
		return nil // it was a note, of which the instrument knows nothing
	}
	d.open, d.at = nil, h.next
	if h.frame {
		d.lastAt = time.Now()
	}
	if len(h.say) == 0 {
		return nil
	}
	if h.frame {
		d.at.told, d.note = true, true
	}
	return d.say(ctx, h.say)
}

// Refuse says so to an instrument that can hear it, and sends again; else the batch is kept and given again.
func (d *device) Refuse(ctx context.Context, _ sdk.Position, _ sdk.Reason) error {
	h := d.open
	switch {
	case h == nil:
		return nil
	case h.frame && d.p != nil && len(d.p.Refuses()) > 0:
		d.open = nil
		return d.say(ctx, d.p.Refuses())
	}
	h.refused = true
	return nil
}

// say answers. What came before is known from then on.
func (d *device) say(ctx context.Context, answer []byte) error {
	for range drainMost {
		b, err := d.port.Next(ctx, drainFor)
		if err != nil {
			break // silence, or a line that is gone, which the next Read will hear
		}
		d.in.Add(b)
	}
	d.answered, d.crossed = d.in.Received(), false
	_, err := d.port.Write(answer)
	return err
}

// Close lets go: the line closes itself.
func (d *device) Close(context.Context) error { return nil }
