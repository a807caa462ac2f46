// Sql writes records into the host's database: in the tables that the host ships (record, exam, observation,
// attachment), or in a clinic's own, as a mapping says (docs/mapping.md).
//
//	host ==gRPC==> [ sql ] ==gRPC==> host's guarded database
//
// Each record is one sdk.Once: its rows and its receipt are in one transaction, so a record that comes again is
// stored once, and one that comes with other content is refused.
//
// A record that amends another one has a row of its own in record. The rows of the amended one in exam and observation
// become those of the newest amendment, and exam.amended_by names it; its attachments are added. An amendment that
// names no patient leaves the patient who is there. What arrives late (a replay) never undoes what is newer.
//
// With a mapping an amendment writes its rows like any record: those with the same key are overwritten, but for the
// patient's columns where it names none; other rows stay. There is no memory of what was amended by what: amendments
// count in the order in which they come.
package main

import (
	"context"
	"errors"
	"flag"
	"io"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

func main() {
	serve.Sink(&sink{}, sdk.Manifest{
		Name:       "sql",
		Version:    "1.0.0",
		Speaks:     "every kind of record; exams also as rows of their observations",
		LossWindow: "none: a receipt in the same transaction makes a record that comes again the same one",
	}, serve.Simulate(simulate))
}

// simulate is `sql simulate`: the suite plays the host's database, and this says how it is to be looked at.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("sql simulate", flag.ContinueOnError)
	suite := flags.Bool("conformance", false, "be the destination of the conformance suite")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if !*suite {
		return serve.Usage(errors.New("sql writes through the host's database, and has none to simulate; --conformance is for the suite"))
	}
	return sim.ConformanceSink(ctx, in, out, sim.Destination{Idempotent: true, Receipts: true, Bad: conflicting()})
}

// conflicting is a record whose identity is taken: the suite has stored the first one of a rule with other content.
func conflicting() *sdk.Record {
	return &sdk.Record{ID: "exam-0", Kind: "exam", ContentType: "application/json", Data: []byte(`{}`), Raw: []byte("other content")}
}
