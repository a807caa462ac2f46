// Asker is a sink plugin that measures what a call of the host costs: an empty one, and a query that the cache answers,
// turn by turn over the same connection. It begins with its first record.
//
//	host ==gRPC==> [ asker ] ==gRPC, broker==> host: database, cache; [ asker ] -> STATEDIR/calls.txt
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

// listName is the file in the sink's StateDir: a line for each turn with the nanoseconds of an empty call and of a
// cached query, both means of the turn. It appears whole.
const listName = "calls.txt"

// asker is the sink.
type asker struct {
	Turns int `setting:"turns" default:"100" min:"1" help:"turns of calls of each kind"`
	Calls int `setting:"calls" default:"200" min:"1" help:"calls of a kind in a turn"`

	env  sdk.SinkEnv
	done bool
}

// Open reads the settings.
func (a *asker) Open(_ context.Context, env sdk.SinkEnv) error {
	a.env = env
	return env.Settings.Decode(a)
}

// Write measures, the first time.
func (a *asker) Write(ctx context.Context, _ []sdk.Record) error {
	if a.done {
		return nil
	}
	a.done = true
	var text []byte
	for turn := range a.Turns + 1 {
		empty, err := a.mean(ctx, a.empty)
		if err != nil {
			return err
		}
		cached, err := a.mean(ctx, a.cached)
		if err != nil {
			return err
		}
		if turn > 0 { // the first one warms up, and loads the answer
			text = fmt.Appendf(text, "%d %d\n", empty, cached)
		}
	}
	path := filepath.Join(a.env.StateDir, listName)
	if err := os.WriteFile(path+".part", text, 0o600); err != nil {
		return fmt.Errorf("write times: %w", err)
	}
	return os.Rename(path+".part", path)
}

func (a *asker) mean(ctx context.Context, call func(context.Context, int) error) (time.Duration, error) {
	from := time.Now()
	for n := range a.Calls {
		if err := call(ctx, n); err != nil {
			return 0, err
		}
	}
	return time.Since(from) / time.Duration(a.Calls), nil
}

// empty asks the host for nothing: a write of no changes.
func (a *asker) empty(ctx context.Context, _ int) error {
	_, err := a.env.Store.Write(ctx)
	return err
}

var errNotCached = errors.New("an answer did not come from the cache")

// cached looks up a patient's chart, as a mapping does.
func (a *asker) cached(ctx context.Context, n int) error {
	res, err := a.env.Store.Query(ctx, sdk.Query{
		SQL: "SELECT 1007 AS CHART_NO WHERE ? <> ''", Args: []any{"P-000421"}, MaxRows: 2, CacheFor: 30 * time.Minute, Tables: []string{"exam"},
	})
	if err == nil && !res.Cached && n > 0 {
		return errNotCached
	}
	return err
}

// Close lets nothing go: there is nothing.
func (a *asker) Close(context.Context) error { return nil }

func main() {
	serve.Sink(&asker{}, sdk.Manifest{
		Name:       "asker",
		Version:    "1.0.0",
		Speaks:     "nothing: it measures the host's answers",
		LossWindow: "all: it stores no record",
	})
}
