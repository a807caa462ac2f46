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
	// Destination makes a fresh and empty place to write to, which ends with the test that it is given. Without one only
	// the rules are held that need none.
	Destination func(t testing.TB) Destination
	// Settings besides those of the destination, and over them.
	Settings map[string]any
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

// sinkRules are the rules in the order in which they run.
func sinkRules() []rule[Sink] {
	return []rule[Sink]{
		{manifestRule, manifestRemedy, func(t testing.TB, s *Sink) { checkManifest(t, s.Binary, sdk.RoleSink) }},
		{describeRule, describeRemedy, func(t testing.TB, s *Sink) { checkDescribe(t, s.Binary) }},
		{handshakeRule, handshakeRemedy, func(t testing.TB, s *Sink) { checkHandshake(t, s.Binary) }},
		{unknownRule, unknownRemedy, sinkUnknownSetting},
		{wrongRule, wrongRemedy, sinkWrongType},
		{boundsRule, boundsRemedy, sinkBounds},
		{reopenRule, reopenRemedy, sinkReopens},
		{orderRule, orderRemedy, sinkAnyOrder},
		{failedOpenRule, failedOpenRemedy, sinkFailedOpen},
		{"changes nothing when it is checked", "let Check only read: Write, files and tables are for Open and Write", sinkChecked},
		{"has stored what it answers for", "return from Write after the records are safe (written, flushed, fsynced, committed), not when they are in memory", sinkStores},
		{"takes batches up to the limits", "take up to 1,000 records and 1 MiB in one Write, or one record of a little more than 1 MiB", sinkLimits},
		{"takes a record with an attachment", "read it with SinkEnv.Blob and its Hash, or pass over it", sinkAttachment},
		{
			"takes the same records again",
			"write with sdk.OnceFor, or under a key made of Source and ID, so that a record which comes again is not stored twice",
			sinkSameAgain,
		},
		{
			"refuses a bad record alone",
			"return sdk.RecordErrors with the index of the bad record, and store the others of the batch before that",
			sinkBadRecord,
		},
		{"answers in the order of the batches", "without package serve: take one batch after the other, and answer each before the next", sinkOrder},
		{
			"gives a failure of store or cache its class",
			"return the error of Store or Cache, wrapped with %w: an error made of its text has lost its class",
			sinkClasses,
		},
		{
			"outlasts a failure at each call of store and cache",
			"after a failed call of Store or Cache return its error, wrapped with %w, and let the batch begin anew when it comes again; pass over the error of a Cache alone",
			sinkEachCall,
		},
		{"waits for a slow host", "give calls of Store and Cache the ctx of Write and no shorter limit: they are bounded by the host", sinkSlow},
		{
			"writes nothing behind a failure until it is told",
			"without package serve: after a failure answer each batch with one, until a batch says again",
			sinkAgain,
		},
		{
			"loses nothing when it is killed",
			"return from Write after the records are safe, and write so that what comes again is stored once",
			sinkKilled,
		},
		{leftRule, leftRemedy, sinkLeft},
		{logsRule, logsRemedy, sinkLogs},
		{printsRule, printsRemedy, sinkPrints},
		{endsRule, endsRemedy, sinkEnds},
	}
}

// RunSink examines a sink plugin, one rule in each subtest.
func RunSink(t *testing.T, s Sink) {
	t.Helper()
	if s.Binary == "" {
		s.Binary = Build(t, s.Package)
	}
	run(t, sinkRules(), &s)
}

// sinkTime is how long one batch may take.
const sinkTime = 15 * time.Second

// closeSink closes the sink as the contract says.
func (v *visit) closeSink() error {
	ctx, cancel := context.WithTimeout(v.t.Context(), closeTime)
	defer cancel()
	return v.proc.conn.CloseSink(ctx)
}
