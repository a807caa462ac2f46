// Marked is a device whose records are full of marks, which stand for a patient's data: no log, status or metric may show
// one. After its records it does what a faulty driver does.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/serve"
)

type marked struct {
	Count int    `setting:"count,required" help:"records"`
	Fault string `setting:"fault" help:"after the records: panic or refused; empty is none"`

	env sdk.Env
	at  int64
}

// Open begins after the record that was acknowledged last.
func (m *marked) Open(_ context.Context, env sdk.Env, from sdk.Position) (err error) {
	m.env = env
	if err := env.Settings.Decode(m); err != nil {
		return err
	}
	m.at, err = from.Offset()
	return err
}

// Read gives 20 records, or plays the fault, once.
func (m *marked) Read(ctx context.Context) (b sdk.Batch, err error) {
	if m.at >= int64(m.Count) {
		return m.fault(ctx)
	}
	for range min(20, int64(m.Count)-m.at) {
		m.at++
		r, err := m.record(m.at)
		if err != nil {
			return b, err
		}
		b.Records = append(b.Records, r)
	}
	b.Next = sdk.Offset(m.at)
	return b, nil
}

// mark is a word of a patient's data; the test looks for its form.
func mark(what string, n int64) string { return fmt.Sprintf("QQ%s%06dZZ", what, n) }

func (m *marked) record(n int64) (r sdk.Record, err error) {
	e := &exam.Exam{
		Patient: exam.Patient{ID: mark("ID", n), Name: mark("FAMILY", n) + " " + mark("GIVEN", n), Birth: "1899-12-31", Sex: "F"},
		Device:  exam.Device{Make: "synthetic", Model: "marked", Serial: "1"}, TakenAt: "2026-01-02T03:04:05",
		Observations: []exam.Observation{{Code: "note", Eye: "B", Value: exam.Text(mark("TEXT", n)), Text: mark("SENT", n)}},
	}
	r = sdk.Record{
		ID: fmt.Sprintf("m-%d", n), Kind: exam.Kind, ContentType: exam.ContentType, Time: time.Unix(1_700_000_000+n, 0).UTC(),
		Labels: map[string]string{"operator": mark("LABEL", n)}, Raw: []byte("raw bytes of " + mark("RAW", n)),
	}
	if r.Data, err = exam.Encode(e); err != nil {
		return r, err
	}
	switch n % 10 {
	case 1: // what is no exam
		r.Data = []byte(`{"patient":{"id":"` + mark("ID", n) + `","name":["` + mark("FAMILY", n) + `"]},"` + mark("KEY", n) + `":1}`)
	case 2: // cut off
		r.Data = r.Data[:len(r.Data)/2]
	case 3: // the id of the record before the one before it, with other content
		r.ID = fmt.Sprintf("m-%d", n-3)
	case 4:
		r.Kind, r.Data = sdk.KindReject, nil
		r.Labels = map[string]string{sdk.LabelReason: "malformed_xml", sdk.LabelOffset: "7"}
	case 5:
		r.Kind = "document"
		path := filepath.Join(m.env.StagingDir, mark("FILE", n)+".pdf")
		if err := os.WriteFile(path, []byte(mark("INSIDE", n)), 0o600); err != nil {
			return r, err
		}
		r.Attachments = []sdk.Attachment{{Name: mark("FILE", n) + ".pdf", ContentType: "application/pdf", Path: path}}
	case 6: // corrects what is not there
		r.Amends = fmt.Sprintf("m-%d", n+100_000)
	case 7: // long, and no text
		e.Patient.Name = strings.Repeat(mark("LONG", n), 400) + "\x00"
		r.Data, err = exam.Encode(e)
	}
	return r, err
}

// fault is played once in the life of the state folder; then nothing more comes.
func (m *marked) fault(ctx context.Context) (b sdk.Batch, err error) {
	once := filepath.Join(m.env.StateDir, "played")
	if _, err := os.Stat(once); err == nil || m.Fault == "" {
		<-ctx.Done()
		return b, ctx.Err()
	}
	if err := os.WriteFile(once, nil, 0o600); err != nil {
		return b, err
	}
	r, err := m.record(10)
	if err != nil {
		return b, err
	}
	if m.Fault == "panic" {
		panic(fmt.Sprintf("decode record: %s %s\n%s", r.Data, r.Raw, r.Data))
	}
	r.ID = "" // refused: an id is wanted
	return sdk.Batch{Records: []sdk.Record{r}, Next: sdk.Offset(m.at)}, nil
}

// Ack has nothing to tell.
func (m *marked) Ack(context.Context, sdk.Position) error { return nil }

// Close has nothing to let go.
func (m *marked) Close(context.Context) error { return nil }

func main() {
	serve.Device(&marked{}, sdk.Manifest{Name: "marked", Version: "1.0.0", Identity: "its number", LossWindow: "none"})
}
