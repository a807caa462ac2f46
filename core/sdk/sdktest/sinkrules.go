package sdktest

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// sinkRecords is the most records of a sink's batch.
const sinkRecords = 1000

func sinkUnknownSetting(t testing.TB, s *Sink) {
	checkUnknownSetting(t, newVisitOfSettings(t, s).tryOpen)
}

func sinkWrongType(t testing.TB, s *Sink) {
	v := newVisitOfSettings(t, s)
	checkWrongType(t, v.proc.manifest.Settings, v.tryOpen)
}

func sinkReopens(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	var all []sdk.Record
	for i := range 3 {
		v.open()
		batch := exams(t, 10*i, 10)
		v.write(batch)
		all = append(all, batch...)
		v.close()
	}
	if err := v.closeSink(); err != nil {
		t.Errorf("Close what is closed: %v", err)
	}
	v.check(true, all)
}

func sinkFailedOpen(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	if err := v.tryOpen(map[string]any{"no_such_setting": "x"}); err == nil {
		t.Log("Open did not fail, which another rule reports")
	}
	if err := v.closeSink(); err != nil {
		t.Errorf("Close after an Open that failed: %v", err)
	}
	v.open()
	batch := exams(t, 0, 1)
	v.write(batch)
	v.close()
	v.check(true, batch)
}

// sinkChecked asks one that can be asked before the start, as often as an operator may, and one that cannot, which is as if
// it found nothing.
func sinkChecked(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	before := v.folders()
	for range 2 {
		found, err := v.inspect()
		if err != nil {
			t.Fatalf("Check: %v", err)
		}
		if len(found) > 0 && !v.proc.manifest.Checks {
			t.Errorf("Check: it found %v, and its manifest does not say that it checks", found)
		}
		for _, f := range found {
			if f.Text == "" {
				t.Errorf("Check: a finding of %q has no text", f.Setting)
			}
		}
	}
	if n := v.host.writes(); n > 0 {
		t.Errorf("Check: it wrote to the store %d times while it was checked", n)
	}
	if after := v.folders(); after != before {
		t.Errorf("Check: its folders had %s, and have %s", before, after)
	}
	v.proc.stop(t)
	v.begin()
	v.open()
	batch := exams(t, 0, 1)
	v.write(batch)
	v.close()
	v.check(true, batch)
}

// sinkStores looks into the destination while the sink is still open: an answer must not wait for Close.
func sinkStores(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	first, second := exams(t, 0, 50), exams(t, 50, 1)
	v.write(first)
	v.check(true, first)
	v.write(second)
	v.check(true, first, second)
	v.close()
	v.check(true, first, second)
}

// sinkLimits sends the most records, and one record as large as the wire allows.
func sinkLimits(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	many := exams(t, 0, sinkRecords)
	v.write(many)
	large := exams(t, sinkRecords, 1)
	large[0].Raw = bytes.Repeat([]byte("0123456789abcdef"), (sdk.MaxInline-len(large[0].Data))/16)
	v.write(large)
	v.close()
	v.check(true, many, large)
}

func sinkAttachment(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	batch := exams(t, 0, 3)
	v.attach(&batch[1], bytes.Repeat([]byte{0xff, 0xd8, 0}, 1<<20))
	v.write(batch)
	v.close()
	v.check(true, batch)
}

// sinkSameAgain sends the same records in the same process, in the next session and in the next process.
func sinkSameAgain(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	batch := exams(t, 0, 20)
	v.open()
	v.write(batch)
	v.write(batch)
	v.close()
	v.open()
	v.write(batch)
	v.close()
	v.proc.stop(t)
	v.begin()
	v.open()
	v.write(batch)
	v.close()
	v.check(s.Idempotent, batch)
}

func sinkBadRecord(t testing.TB, s *Sink) {
	if s.Bad == nil {
		t.Skip("the sink takes every record")
	}
	v := newVisit(t, s)
	v.open()
	batch := exams(t, 0, 4)
	batch[2] = s.Bad()
	v.send(false, batch)
	o := v.outcome()
	if o.Failure != nil || len(o.Errors) != 1 || o.Errors[0].Index != 2 || o.Errors[0].Reason == "" {
		t.Errorf("Write: record 2 of a batch is bad; want it refused alone with a reason, got %s", say(o))
	}
	v.close()
	v.check(true, slices.Delete(batch, 2, 3))
}

// sinkOrder has several batches open at once.
func sinkOrder(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	var all []sdk.Record
	for i := range 4 {
		batch := exams(t, 10*i, 10)
		v.send(false, batch)
		all = append(all, batch...)
	}
	for i := range 4 {
		if o := v.outcome(); o.Number != uint64(i+1) || o.Failure != nil {
			t.Errorf("Write: outcome %d is of batch %d, %s", i+1, o.Number, say(o))
		}
	}
	v.close()
	v.check(true, all)
}

// sinkClasses lets store and cache fail with each class. A failing cache need not fail the write; a permanent failure
// may be put down to the records.
func sinkClasses(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	var all []sdk.Record
	for c := sdk.ClassNone; c <= sdk.ClassUnknown; c++ {
		batch := exams(t, 10*int(c), 2)
		v.host.fail(fault{class: c})
		v.send(true, batch)
		o := v.outcome()
		used := v.host.mend()
		if used == 0 {
			if c == sdk.ClassNone {
				t.Skip("the sink uses neither store nor cache in Write")
			}
			t.Fatalf("Write: class %s: the sink did not try again", c)
		}
		switch {
		case o.Failure != nil && sdk.ClassOf(o.Failure) != c:
			t.Errorf("Write: store or cache failed with class %s, the sink with %s: %v", c, sdk.ClassOf(o.Failure), o.Failure)
		case len(o.Errors) > 0 && c != sdk.ClassPermanent:
			t.Errorf("Write: store or cache failed with class %s, and the sink refused records for good: %s", c, say(o))
		}
		if len(o.Errors) == 0 {
			all = append(all, batch...)
		}
		if o.Failure != nil {
			v.send(true, batch)
			if o := v.outcome(); o.Failure != nil || len(o.Errors) > 0 {
				t.Errorf("Write: after a failure of class %s the same batch is not stored: %s", c, say(o))
			}
		}
	}
	v.close()
	v.check(s.Idempotent, all)
}

// sinkAgain has a batch behind one that fails.
func sinkAgain(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	mend := func() { v.host.mend() }
	if v.to.Break != nil {
		mend = v.to.Break(t)
	} else {
		v.host.fail(fault{class: sdk.ClassBusy})
	}
	first, second := exams(t, 0, 2), exams(t, 2, 2)
	v.send(true, first)
	o := v.outcome()
	mend()
	if o.Failure == nil {
		t.Skip("nothing made a write fail")
	}
	v.send(false, second)
	if o := v.outcome(); o.Failure == nil {
		t.Errorf("Write: a batch behind a failed one was written before the failed one came again: %s", say(o))
	}
	v.send(true, first)
	v.send(false, second)
	for range 2 {
		if o := v.outcome(); o.Failure != nil || len(o.Errors) > 0 {
			t.Errorf("Write: told to go on, and did not: %s", say(o))
		}
	}
	v.close()
	v.check(s.Idempotent, first, second)
}

func sinkPrints(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	v.write(exams(t, 0, 10))
	v.close()
	v.proc.stop(t)
	checkPrinted(t, v.proc)
}

// sinkEnds ends the host while batches are open.
func sinkEnds(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	v.write(exams(t, 0, 10))
	v.send(false, exams(t, 10, 10))
	started := children(t, v.proc.pid)
	if !v.proc.endHost(t) {
		t.Errorf("in Write: it lives %v after its standard input ended", endTime)
		v.proc.kill(t)
	}
	checkOrphans(t, started)
	v.end()
}
