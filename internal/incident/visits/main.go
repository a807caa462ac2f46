// Visits is a sink that makes the origin's visits through the host's Store, with cached queries, and writes what became
// of them into its state folder. It takes records and keeps none.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/internal/incident/load"
)

type visits struct {
	Visits int `setting:"visits" default:"10" help:"how many"`

	env sdk.SinkEnv
}

// Open begins the visits.
func (v *visits) Open(_ context.Context, env sdk.SinkEnv) error {
	v.env = env
	if err := env.Settings.Decode(v); err != nil {
		return err
	}
	go v.run()
	return nil
}

// Write takes the host's records.
func (v *visits) Write(context.Context, []sdk.Record) error { return nil }

// Close has nothing to let go.
func (v *visits) Close(context.Context) error { return nil }

func (v *visits) run() {
	r, err := load.Run(v.Visits, &access{v.env.Store})
	if err != nil {
		v.env.Log.Error("visits failed", "err", err)
		return
	}
	text, err := json.Marshal(r)
	path := filepath.Join(v.env.StateDir, "report.json")
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		v.env.Log.Error("report not written", "err", err)
	}
}

// access is load.Access over the host's Store.
type access struct{ store sdk.Store }

// Read is load.Access's.
func (a *access) Read(op load.Op, key int64) (int64, error) {
	q := load.Queries[op]
	ask := sdk.Query{SQL: q.SQL, Args: []any{key}}
	if q.Tables != nil {
		ask.CacheFor, ask.Tables = load.CacheFor, q.Tables
	}
	res, err := a.store.Query(context.Background(), ask)
	if err != nil {
		return 0, err
	}
	if len(res.Rows) != 1 {
		return 0, fmt.Errorf("%d rows", len(res.Rows))
	}
	n, _ := res.Rows[0][0].(int64)
	return n, nil
}

// Write is load.Access's.
func (a *access) Write(op load.Op, key, value int64) error {
	var c sdk.Change = sdk.Insert{Table: "visit_observation", Rows: []sdk.Row{{"exam": key, "idx": value}}}
	if op == load.WriteExam {
		c = sdk.Upsert{Table: "visit_exam", Key: []string{"id"}, Rows: []sdk.Row{{"id": key, "status": value}}}
	}
	_, err := a.store.Write(context.Background(), c)
	return err
}

func main() {
	serve.Sink(&visits{}, sdk.Manifest{Name: "visits", Version: "1.0.0", LossWindow: "everything: it stores no record"})
}
