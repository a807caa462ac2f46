package try

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

// sink opens the sink, writes the records one by one, and shows each outcome with what it changed in the database.
func (t *trial) sink(ctx context.Context) (err error) {
	store := &sdktest.Store{}
	id, serve := t.proc.Conn.ServeStore(store, &memory{kept: map[string][]byte{}})
	t.group.Go("store", func(context.Context) error {
		serve()
		return nil
	})
	settings, err := t.settings()
	if err != nil {
		return err
	}
	opening, cancel := t.bounded(ctx, openTime)
	defer cancel()
	err = t.proc.Conn.OpenSink(opening, wire.OpenSink{
		Name: t.proc.Manifest.Name, Settings: settings, StateDir: t.path("state"), BlobDir: t.path("attachments"), BrokerID: id, LogLevel: "debug",
	})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		closing, cancel := t.bounded(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, t.proc.Conn.CloseSink(closing))
		t.say.closed(nil)
	}()
	made, err := invented(t.Exams)
	if err != nil {
		return err
	}
	return t.write(ctx, store, append(t.Records, made...))
}

func (t *trial) write(ctx context.Context, store *sdktest.Store, records []sdk.Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run, err := t.proc.Conn.RunSink(ctx)
	if err != nil {
		return err
	}
	shown, failed := 0, false
	for i := range records {
		r := &records[i]
		number := uint64(i) + 1
		out := wire.NewOutgoing(len(r.Data) + len(r.Raw))
		out.Head(number, "")
		if failed {
			out.Again()
		}
		body := wire.AppendRecord(nil, r)
		out.Raw(body, "try", time.Now().UnixNano(), number)
		t.say.batch(number, 1, "")
		t.show(r, len(body))
		if err := run.Send(out); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		o, err := run.Recv()
		if err != nil {
			return fmt.Errorf("outcome: %w", err)
		}
		failed = o.Failure != nil
		t.outcome(&o)
		applied := store.Applied()
		for _, c := range applied[shown:] {
			t.changed(c)
		}
		shown = len(applied)
	}
	return nil
}

func (t *trial) outcome(o *wire.Outcome) {
	f := fields{"batch": o.Number, "failure": text(o.Failure), "refused": o.Errors}
	switch {
	case o.Failure != nil:
		f["class"] = sdk.ClassOf(o.Failure)
		t.say.event("outcome", f, "not stored, and a host comes again: %v", o.Failure)
	case len(o.Errors) > 0:
		t.say.event("outcome", f, "refused for good, a dead letter: %s", o.Errors[0].Reason)
	default:
		t.say.event("outcome", f, "stored")
	}
}

// changed shows a change of the database: its tables and columns, and the values where they may be shown.
func (t *trial) changed(c sdk.Change) {
	show := func(what, table string, rows []sdk.Row) {
		for _, row := range rows {
			shown := map[string]any{}
			for column, v := range row {
				if shown[column] = masked; t.ShowData {
					shown[column] = v
				}
			}
			t.say.event("change", fields{"change": what, "table": table, "row": shown}, "  %s %s: %v", what, table, shown)
		}
	}
	switch c := c.(type) {
	case sdk.Insert:
		show("insert", c.Table, c.Rows)
	case sdk.Upsert:
		show("upsert", c.Table, c.Rows)
	case sdk.Exec:
		t.say.event("change", fields{"change": "exec", "sql": c.SQL, "args": len(c.Args)}, "  exec %s (%d arguments)", c.SQL, len(c.Args))
	}
}

// invented makes exams of people that do not exist.
func invented(n int) ([]sdk.Record, error) {
	list := make([]sdk.Record, n)
	for i := range list {
		taken := time.Date(2026, 1, 2, 8, 0, i, 0, time.UTC)
		e := exam.Exam{
			Patient: exam.Patient{ID: fmt.Sprintf("P-%06d", i), Name: "Muster Anna"},
			Device:  exam.Device{Make: "hostd", Model: "try"},
			TakenAt: taken.Format(time.RFC3339),
			Observations: []exam.Observation{
				{Code: exam.CodeIOP, Eye: exam.Right, Value: exam.Number(float64(10 + i%12)), Unit: exam.UnitMMHg},
			},
		}
		data, err := exam.Encode(&e)
		if err != nil {
			return nil, fmt.Errorf("make an exam: %w", err)
		}
		list[i] = sdk.Record{
			ID: fmt.Sprintf("exam-%d", i), Kind: exam.Kind, Time: taken, ContentType: exam.ContentType, Data: data, Patient: e.Patient.ID,
		}
	}
	return list, nil
}

// memory is an sdk.Cache that forgets with the process, and nothing before.
type memory struct {
	mu   sync.Mutex
	kept map[string][]byte // guarded by mu
}

// Get is sdk.Cache's.
func (m *memory) Get(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.kept[key]
	return v, ok, nil
}

// Put is sdk.Cache's.
func (m *memory) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[key] = value
	return nil
}

// Drop is sdk.Cache's.
func (m *memory) Drop(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
	return nil
}
