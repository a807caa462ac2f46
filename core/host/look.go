package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// opNote is an act that changes nothing, and is audited all the same: somebody looks at patients' data.
const opNote = "note"

// NoteArgs is what is noted.
type NoteArgs struct {
	By   string `json:"by"`
	What string `json:"what"`
	Args any    `json:"args,omitempty"`
}

// note puts a line into the audit, by the running host where there is one: the file is its own.
func note(ctx context.Context, c *config.Config, a NoteArgs) error {
	err := ask(ctx, c, opNote, a, nil)
	if !errors.Is(err, admin.ErrUnreachable) && !errors.Is(err, ErrEnvironment) {
		return err
	}
	p, err := newPlaces(c)
	if err != nil {
		return err
	}
	own, err := openAudit(p.audit)
	if err != nil {
		return err
	}
	return own.note(a.By, a.What, a.Args)
}

// DeadLetter is a line of the list of dead letters: no patient data.
type DeadLetter struct {
	Sink     string    `json:"sink"`
	Device   string    `json:"device"`
	Seq      uint64    `json:"seq"`
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Received time.Time `json:"received_at"`
	Died     time.Time `json:"died_at"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
}

// inspect opens the spool's files for reading, beside a running host or without one.
func inspect(c *config.Config) (*spool.Inspection, error) {
	p, err := newPlaces(c)
	if err != nil {
		return nil, err
	}
	key, err := c.Spool.KeyBytes()
	if err != nil {
		return nil, fmt.Errorf("spool.key: %w", err)
	}
	o := spool.Options{Key: key, Blobs: p.blobs, Describe: describe}
	if k, err := os.ReadFile(p.indexKeyFile); err == nil && len(k) == indexKeySize { // the host makes it; looking makes nothing
		o.IndexKey = k
	}
	i, err := spool.Inspect(p.spool, o)
	if err != nil {
		return nil, spoolFault(p.spool, key, err)
	}
	return i, nil
}

// DeadLetters lists what a sink (empty: any) will not get, oldest first.
func DeadLetters(c *config.Config, sink string) ([]DeadLetter, error) {
	return letters(c, func(i *spool.Inspection) iter.Seq2[*spool.DeadLetter, error] { return i.DeadLetters(sink) })
}

func letters(c *config.Config, of func(*spool.Inspection) iter.Seq2[*spool.DeadLetter, error]) ([]DeadLetter, error) {
	i, err := inspect(c)
	if err != nil {
		return nil, err
	}
	list := []DeadLetter{}
	for l, err := range of(i) {
		if err != nil {
			return nil, err
		}
		row := DeadLetter{
			Sink: l.Sink, Device: l.Device, Seq: l.Seq, Received: l.Received, Died: l.Died, Attempts: l.Attempts, Reason: logs.Mask(l.Reason),
		}
		var head wire.Head
		if wire.Scan(l.Payload, &head) == nil {
			row.ID, row.Kind = string(head.ID), string(head.Kind)
		}
		list = append(list, row)
	}
	return list, nil
}

// Held lists the exams that are held back from a sink (empty: any) because they name no patient, oldest first.
func Held(c *config.Config, sink string) ([]DeadLetter, error) {
	return letters(c, func(i *spool.Inspection) iter.Seq2[*spool.DeadLetter, error] { return i.Held(sink) })
}

// Rejects lists the inputs that no decoder could read, oldest first: the spool keeps them as records of kind reject.
func Rejects(c *config.Config) ([]Record, error) {
	i, err := inspect(c)
	if err != nil {
		return nil, err
	}
	list := []Record{}
	for ref, err := range i.Records() {
		if err != nil {
			return nil, err
		}
		var head wire.Head
		if wire.Scan(ref.Payload, &head) != nil || string(head.Kind) != sdk.KindReject {
			continue
		}
		r, err := recordOf(ref, false)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// Record is a record as an operator sees it. Masked, it has no patient data.
type Record struct {
	Seq         uint64            `json:"seq"`
	Device      string            `json:"device"`
	ID          string            `json:"id"`
	Kind        string            `json:"kind"`
	Time        *time.Time        `json:"time"` // null: the instrument did not say
	Received    time.Time         `json:"received_at"`
	Labels      map[string]string `json:"labels,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Amends      string            `json:"amends,omitempty"`
	Data        json.RawMessage   `json:"data,omitempty"`        // where it is JSON
	DataBytes   []byte            `json:"data_base64,omitempty"` // where it is not
	Raw         []byte            `json:"raw,omitempty"`
	Attachments []Attached        `json:"attachments,omitempty"`
	Masked      bool              `json:"masked,omitempty"`
}

// Attached is an attachment of a Record.
type Attached struct {
	Name string `json:"name,omitempty"`
	Size int64  `json:"size"`
	Hash string `json:"hash"`
	Role string `json:"role,omitempty"`
}

// recordOf decodes a record. Without reveal its data go, but for the findings of an exam; names of files may hold a
// patient's id, and go too.
func recordOf(ref spool.Ref, reveal bool) (Record, error) {
	var r sdk.Record
	var dec wire.Decoder
	if err := dec.Record(bytes.Clone(ref.Payload), &r); err != nil {
		return Record{}, fmt.Errorf("read record %d: %w", ref.Seq, err)
	}
	out := Record{
		Seq: ref.Seq, Device: ref.Device, ID: r.ID, Kind: r.Kind, Time: timeOf(r.Time), Received: time.Unix(0, ref.Received).UTC(),
		Labels: r.Labels, ContentType: r.ContentType, Amends: r.Amends, Masked: !reveal,
	}
	for _, a := range r.Attachments {
		if !reveal {
			a.Name = ""
		}
		out.Attachments = append(out.Attachments, Attached{Name: a.Name, Size: a.Size, Hash: a.Hash, Role: a.Role})
	}
	switch {
	case reveal && json.Valid(r.Data):
		out.Data, out.Raw = r.Data, r.Raw
	case reveal:
		out.DataBytes, out.Raw = r.Data, r.Raw
	case r.Kind == exam.Kind:
		out.Data = masked(r.Data)
	}
	if !reveal {
		for k, v := range out.Labels {
			out.Labels[k] = logs.Mask(v)
		}
	}
	return out, nil
}

// masked is an exam without its patient; nothing where it is no exam. Findings that are free text go, too.
func masked(data []byte) json.RawMessage {
	e, err := exam.Decode(data)
	if err != nil {
		return nil
	}
	e.Patient = exam.Patient{}
	kept := e.Observations[:0]
	for i := range e.Observations {
		o := e.Observations[i]
		if _, number := o.Value.Float(); number && o.Unit != "" {
			o.Text, o.Flags = "", nil // as the source wrote them, which may be anything
			kept = append(kept, o)
		}
	}
	e.Observations = kept
	if len(kept) == 0 {
		return nil
	}
	b, err := exam.Encode(e)
	if err != nil {
		return nil
	}
	return b
}

// ErrNoRecord is a record that is not in the spool, or not any more.
var ErrNoRecord = errors.New("there is no such record")

// ShowDead gives the record of a dead letter, an exam that is held back, or an input that could not be read, by its number. With reveal its patient's data are in it, and the audit says so.
func ShowDead(ctx context.Context, c *config.Config, a DeadArgs, reveal bool) (Record, error) {
	i, err := inspect(c)
	if err != nil {
		return Record{}, err
	}
	for _, letters := range []iter.Seq2[*spool.DeadLetter, error]{i.DeadLetters(a.Sink), i.Held(a.Sink)} {
		for l, err := range letters {
			if err != nil {
				return Record{}, err
			}
			if len(a.Seqs) != 1 || l.Seq != a.Seqs[0] {
				continue
			}
			if reveal {
				if err := note(ctx, c, NoteArgs{By: a.By, What: "dead.show", Args: a}); err != nil {
					return Record{}, err
				}
			}
			return recordOf(spool.Ref{Seq: l.Seq, Device: l.Device, Received: l.Received.UnixNano(), Payload: l.Payload}, reveal)
		}
	}
	return showReject(ctx, c, i, a, reveal)
}

// showReject gives an input that no decoder could read: it is a record, and no dead letter.
func showReject(ctx context.Context, c *config.Config, i *spool.Inspection, a DeadArgs, reveal bool) (Record, error) {
	if len(a.Seqs) != 1 {
		return Record{}, ErrNoRecord
	}
	for f, err := range i.Find(ctx, spool.Lookup{Seq: a.Seqs[0], Kind: sdk.KindReject}) {
		if err != nil {
			return Record{}, err
		}
		if reveal {
			if err := note(ctx, c, NoteArgs{By: a.By, What: "dead.show", Args: a}); err != nil {
				return Record{}, err
			}
		}
		return recordOf(f.Ref, reveal)
	}
	return Record{}, ErrNoRecord
}

// SpoolFile is what Verify says of one file of the spool.
type SpoolFile = spool.SegmentReport

// VerifySpool reads every byte of the spool's log and of its dead letters, also beside a running host: what that has published must be there, and what
// it is writing is left alone.
func VerifySpool(ctx context.Context, c *config.Config) ([]SpoolFile, error) {
	running, asked := Status(ctx, c) // before the look: what it says then is on the disk at the look
	i, err := inspect(c)
	if err != nil {
		return nil, err
	}
	if asked == nil { // else none runs
		i.Beside(running.Spool.NewestFile, running.Spool.NewestSynced)
	}
	list := []SpoolFile{}
	for _, files := range []iter.Seq2[SpoolFile, error]{i.Verify(), i.VerifyLetters()} {
		for r, err := range files {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return list, err
			}
			list = append(list, r)
		}
	}
	return list, nil
}

// ExportSpool writes every record that is still in the log, a line of JSON each, with the patients' data.
func ExportSpool(ctx context.Context, c *config.Config, by string, w io.Writer) (n int, err error) {
	i, err := inspect(c)
	if err != nil {
		return 0, err
	}
	if err := note(ctx, c, NoteArgs{By: by, What: "spool.export"}); err != nil {
		return 0, err
	}
	out := json.NewEncoder(w)
	for ref, err := range i.Records() {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return n, err
		}
		r, err := recordOf(ref, true)
		if err != nil {
			return n, err
		}
		if err := out.Encode(r); err != nil {
			return n, fmt.Errorf("export: %w", err)
		}
		n++
	}
	return n, nil
}
