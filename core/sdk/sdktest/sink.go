package sdktest

import (
	"context"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Sink says how a sink plugin is examined.
type Sink struct {
	// Package of the plugin's main, relative to the test's folder; empty is the test's own. It is built once.
	Package string
	// Binary is a plugin that was built already; its name counts as the plugin's folder. It wins over Package.
	Binary string
	// Destination makes a fresh and empty place to write to, which ends with the test that it is given.
	Destination func(t testing.TB) Destination
	// Idempotent says that a record which is written again is not stored again.
	Idempotent bool
	// Bad makes a record that the sink refuses for good; nil where it takes every record.
	Bad func() sdk.Record
}

// Destination is what a sink plugin writes to, fresh for each rule.
type Destination struct {
	// Settings with which the plugin finds it.
	Settings map[string]any
	// Store is the host's database for this sink; nil is an empty Store.
	Store sdk.Store
	// Stored gives the IDs of the records that it holds, one for each time that it holds the record.
	Stored func(t testing.TB) []string
	// Break makes every write fail until mend; nil where only the store can fail.
	Break func(t testing.TB) (mend func())
}

// sinkRule is one rule of the contract; check fails t where the plugin breaks it.
type sinkRule struct {
	name  string
	check func(t testing.TB, s *Sink)
}

// sinkRules are the rules in the order in which they run.
func sinkRules() []sinkRule {
	return []sinkRule{
		{"manifest is complete", func(t testing.TB, s *Sink) { checkManifest(t, s.Binary, sdk.RoleSink) }},
		{"describes itself without settings", func(t testing.TB, s *Sink) { checkDescribe(t, s.Binary) }},
		{"prints only its handshake, and ends with its host", func(t testing.TB, s *Sink) { checkHandshake(t, s.Binary) }},
		{"refuses an unknown setting by name", sinkUnknownSetting},
		{"refuses a setting of the wrong type by name", sinkWrongType},
		{"opens, closes and opens again in one process", sinkReopens},
		{"closes after a failed open", sinkFailedOpen},
		{"changes nothing when it is checked", sinkChecked},
		{"has stored what it answers for", sinkStores},
		{"takes batches up to the limits", sinkLimits},
		{"takes a record with an attachment", sinkAttachment},
		{"takes the same records again", sinkSameAgain},
		{"refuses a bad record alone", sinkBadRecord},
		{"answers in the order of the batches", sinkOrder},
		{"gives a failure of store or cache its class", sinkClasses},
		{"writes nothing behind a failure until it is told", sinkAgain},
		{"loses nothing when it is killed", sinkKilled},
		{"prints nothing while it works", sinkPrints},
		{"ends with its host while it works", sinkEnds},
	}
}

// RunSink examines a sink plugin, one rule in each subtest.
func RunSink(t *testing.T, s Sink) {
	t.Helper()
	if s.Binary == "" {
		s.Binary = Build(t, s.Package)
	}
	for _, r := range sinkRules() {
		t.Run(r.name, func(t *testing.T) { r.check(t, &s) })
	}
}

// sinkTime is how long one batch may take.
const sinkTime = 15 * time.Second

// closeSink closes the sink as the contract says.
func (v *visit) closeSink() error {
	ctx, cancel := context.WithTimeout(v.t.Context(), closeTime)
	defer cancel()
	return v.proc.conn.CloseSink(ctx)
}
