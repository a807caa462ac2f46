package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// ahead is a store that says when it is asked for what.
type ahead struct {
	*memory
	events []string
	busy   bool
}

// Start writes when it is asked for the outcome.
func (a *ahead) Start(ctx context.Context, changes ...sdk.Change) func() ([]sdk.Changed, error) {
	if a.busy {
		a.t.Error("a write begins while another one is under way")
	}
	a.busy = true
	a.events = append(a.events, fmt.Sprint("start ", len(changes)))
	return func() ([]sdk.Changed, error) {
		a.busy = false
		a.events = append(a.events, "stored")
		return a.Write(ctx, changes...)
	}
}

// batch is n records; the one with the number has its data in an attachment, so that it is seen when it is planned.
func (a *ahead) batch(n, number int) (*sink, []sdk.Record) {
	a.t.Helper()
	s := &sink{}
	records := make([]sdk.Record, n)
	for i := range records {
		records[i] = record(a.t, i, "P1", 1)
	}
	data := records[number].Data
	if err := s.Open(a.t.Context(), sdk.SinkEnv{
		Settings: sdk.NewSettings(nil), Store: a,
		Blob: func(context.Context, string) (io.ReadCloser, error) {
			a.events = append(a.events, "planned")
			return io.NopCloser(bytes.NewReader(data)), nil
		},
	}); err != nil {
		a.t.Fatal(err)
	}
	r := rig{memory: a.memory, blobs: map[string][]byte{}}
	records[number].Attachments, records[number].Data = []sdk.Attachment{r.blob(string(data), "data")}, nil
	return s, records
}

func (a *ahead) said(want ...string) {
	a.t.Helper()
	if !slices.Equal(a.events, want) {
		a.t.Errorf("it went as %q, want %q", a.events, want)
	}
}

// TestPlansWhileItIsWritten holds that the second part of a batch is planned while the first one is written.
func TestPlansWhileItIsWritten(t *testing.T) {
	a := &ahead{memory: newMemory(t)}
	s, records := a.batch(1000, 150)
	if err := s.Write(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	a.said("start 100", "planned", "stored", "start 300", "stored", "start 300", "stored", "start 300", "stored")
	a.want("SELECT count(*), count(DISTINCT record_id) FROM exam", "1000|1000")
	a.want("SELECT count(*) FROM record WHERE rowid <> seq + 1", "0") // in their order
}

func TestASmallBatchIsOneWrite(t *testing.T) {
	a := &ahead{memory: newMemory(t)}
	s, records := a.batch(aheadRest, 150)
	if err := s.Write(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	a.said("planned", "start 300", "stored")
}

// TestWhatRestsOnTheLastWriteWaitsForIt has an amendment in the batch: what comes behind the first part is planned when
// that is stored, for it may be what is amended.
func TestWhatRestsOnTheLastWriteWaitsForIt(t *testing.T) {
	a := &ahead{memory: newMemory(t)}
	s, records := a.batch(400, 150)
	records[399] = amend(record(t, 399, "P2", 9), "r50")
	if err := s.Write(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	a.said("start 100", "stored", "planned", "start 300", "stored")
	a.want("SELECT patient_id, amended_by FROM exam WHERE record_id = 'r50'", "P2|r399")
}

// TestAFailureWhileTheNextIsPlanned undoes what was planned behind it.
func TestAFailureWhileTheNextIsPlanned(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		refused bool
	}{
		"a record is at fault": {&sdk.ChangeError{Index: 7, Err: sdk.Permanent(errors.New("no"))}, true},
		"the database is away": {sdk.WithClass(sdk.ClassUnavailable, errors.New("away")), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := &ahead{memory: newMemory(t)}
			s, records := a.batch(400, 150)
			a.fail = func(_ int, changes []sdk.Change) error {
				if id := changes[0].(sdk.Once).ID; id == "r0" || strings.HasPrefix(id, "r7") {
					return c.err
				}
				return nil
			}
			err := s.Write(t.Context(), records)
			if !c.refused {
				if !errors.Is(err, c.err) {
					t.Errorf("write says %v", err)
				}
				a.said("start 100", "planned", "stored")
				return
			}
			var refused sdk.RecordErrors
			if !errors.As(err, &refused) || len(refused) == 0 || refused[7] == nil {
				t.Fatalf("write says %v, want record 7 refused", err)
			}
			a.want("SELECT count(*) FROM exam", fmt.Sprint(400-len(refused)))
			a.want("SELECT count(*) FROM exam WHERE record_id = 'r350'", "1")
		})
	}
}
