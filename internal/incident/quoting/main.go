// Quoting is a sink that does everything wrong with a patient's data that the SDK allows: it quotes records in its errors,
// in its statements, and when it panics.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

type quoting struct {
	Fault string `setting:"fault,required" help:"permanent, refused, plain, busy, unavailable, panic or store"`

	env   sdk.SinkEnv
	tries int
}

// Open prepares.
func (q *quoting) Open(_ context.Context, env sdk.SinkEnv) error {
	q.env = env
	return env.Settings.Decode(q)
}

// quote is a record as an author shows it to himself.
func quote(r *sdk.Record) error {
	return fmt.Errorf("insert row: %s | %v | %s | %q | %v", r.Data, r.Labels, r.Raw, r.Patient, r.Attachments)
}

// Write fails in its way: for good where that isolates a record, and once or twice where the batch comes again.
func (q *quoting) Write(ctx context.Context, records []sdk.Record) error {
	r := &records[0]
	switch q.Fault {
	case "permanent":
		return sdk.Permanent(quote(r))
	case "refused":
		bad := sdk.RecordErrors{}
		for i := range records {
			bad[i] = sdk.Permanent(quote(&records[i]))
		}
		return bad
	case "store":
		return q.ask(ctx, records)
	case "panic":
		return q.die(r)
	}
	if q.tries++; q.tries > 2 {
		return nil
	}
	return sdk.WithClass(map[string]sdk.Class{"busy": sdk.ClassBusy, "unavailable": sdk.ClassUnavailable}[q.Fault], quote(r))
}

// die ends the process, once in the life of the state folder.
func (q *quoting) die(r *sdk.Record) error {
	once := filepath.Join(q.env.StateDir, "played")
	if _, err := os.Stat(once); err == nil {
		return nil
	}
	if err := os.WriteFile(once, nil, 0o600); err != nil {
		return err
	}
	panic(quote(r))
}

// ask has the store refuse each record, in one way after the other, and hands its errors on.
func (q *quoting) ask(ctx context.Context, records []sdk.Record) error {
	bad := sdk.RecordErrors{}
	for i := range records {
		r := &records[i]
		name := r.Patient
		if name == "" {
			name = strings.Fields(string(r.Raw))[3]
		}
		var err error
		if changes := refusals(r, name); r.Seq%13 < uint64(len(changes)) {
			_, err = q.env.Store.Write(ctx, changes[r.Seq%13]...)
		} else {
			_, err = q.env.Store.Query(ctx, queries(name)[r.Seq%13-uint64(len(changes))])
		}
		if err != nil {
			bad[i] = sdk.Permanent(fmt.Errorf("store: %w", err))
		}
	}
	return bad
}

// refusals are writes that the store refuses, each in a way of its own.
func refusals(r *sdk.Record, name string) [][]sdk.Change {
	row := func(id any) sdk.Change {
		return sdk.Insert{Table: "guest", Rows: []sdk.Row{{"id": id, "name": name, "born": "1899-12-31", "age": int64(3)}}}
	}
	one := func(c sdk.Change) []sdk.Change { return []sdk.Change{c} }
	return [][]sdk.Change{
		{row(int64(1)), row(int64(1))}, // a key twice
		one(row(nil)),                  // not null
		one(row(name)),                 // the wrong type
		one(sdk.Insert{Table: "guest", Rows: []sdk.Row{{"id": r.Seq, "name": name}}}),  // no kind of value
		one(sdk.Insert{Table: "guest", Rows: []sdk.Row{{"id": int64(2), name: name}}}), // a column of that name
		one(sdk.Insert{Table: "guest", Rows: []sdk.Row{{"id": int64(7), "name": strings.Repeat(name, 20), "born": "1899-12-31", "age": int64(3)}}}),
		one(sdk.Exec{SQL: "UPDATE guest SET name = '" + name + "' WHERE born = '1899-12-31'", Want: 9}),
		one(sdk.Exec{SQL: "UPDATE guest SET name = '" + name, Want: -1}),
		one(sdk.Exec{SQL: "UPDATE nowhere SET name = \"" + name + "\"", Want: -1}),
		one(sdk.OnceFor(r, row(int64(1)), row(int64(1)))),
	}
}

// queries are reads that fail, and one that takes a while.
func queries(name string) []sdk.Query {
	return []sdk.Query{
		{SQL: "SELECT json('" + name + "')"},
		{SQL: "SELECT json(?)", Args: []any{name}},
		{SQL: slow(name)},
	}
}

func slow(name string) string {
	return "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000) SELECT '" + name + "', max(x) FROM n"
}

// Close has nothing to let go.
func (q *quoting) Close(context.Context) error { return nil }

func main() {
	serve.Sink(&quoting{}, sdk.Manifest{Name: "quoting", Version: "1.0.0", LossWindow: "everything: it stores nothing"})
}
