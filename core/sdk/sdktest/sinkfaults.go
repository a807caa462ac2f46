package sdktest

import (
	"context"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

func sinkAnyOrder(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	checkOrder(t, v.tryOpen, v.closeSink)
	v.open()
	batch := exams(t, 0, 1)
	v.write(batch)
	v.close()
	v.check(true, batch)
}

func sinkBounds(t testing.TB, s *Sink) {
	v := newVisitOfSettings(t, s)
	checkBounds(t, v.proc.manifest.Settings, v.tryOpen)
}

// sinkSlow has a host that answers store and cache late, and does not hear outcomes.
func sinkSlow(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	v.host.slow(slow / 4)
	v.gate.Lock()
	var all []sdk.Record
	for i := range 4 {
		batch := exams(t, 10*i, 10)
		v.send(false, batch)
		all = append(all, batch...)
	}
	pause(t, slow)
	v.proc.answers(t)
	v.gate.Unlock()
	for i := range 4 {
		if o := v.outcome(); o.Number != uint64(i+1) || o.Failure != nil || len(o.Errors) > 0 {
			t.Errorf("Write: the host was slow, and outcome %d is of batch %d, %s", i+1, o.Number, say(o))
		}
	}
	v.host.slow(0)
	v.close()
	v.check(true, all)
}

// mostCalls is after how many calls of store and cache within one call of its own a sink is not looked at further.
const mostCalls = 50

// sinkEachCall lets the first call of store or cache fail, then the second alone, and so on; in Open, and in Write both
// before and after it was done.
func sinkEachCall(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	for n := 1; n <= mostCalls; n++ {
		v.host.fail(fault{class: sdk.ClassBusy, nth: n})
		err := v.tryOpen(nil)
		used := v.host.mend()
		if closeErr := v.closeSink(); closeErr != nil {
			t.Errorf("Close after Open, in which call %d of store and cache had failed: %v", n, closeErr)
		}
		if used < n {
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			break
		}
	}
	v.open()
	var all []sdk.Record
	number, calls := 0, 0
	for _, how := range []fault{{class: sdk.ClassBusy}, {class: sdk.ClassUnknown, after: true}} {
		for how.nth = 1; how.nth <= mostCalls && !t.Failed(); how.nth++ {
			batch := exams(t, number, 2)
			number += len(batch)
			all = append(all, batch...)
			used := v.failing(how, batch)
			calls = max(calls, used)
			if used < how.nth {
				break
			}
		}
	}
	v.close()
	v.check(s.Idempotent, all)
	if calls == 0 && !t.Failed() {
		t.Skip("the sink uses neither store nor cache in Write")
	}
}

// failing sends a batch in which one call fails, and then again where it was not stored; it gives the number of calls.
func (v *visit) failing(how fault, batch []sdk.Record) (calls int) {
	v.t.Helper()
	v.host.fail(how)
	v.send(true, batch)
	o := v.outcome()
	calls = v.host.mend()
	switch {
	case o.Failure != nil && calls < how.nth:
		v.t.Errorf("Write failed, and nothing else did: %s", say(o))
	case o.Failure != nil && sdk.ClassOf(o.Failure) != how.class:
		v.t.Errorf("Write: call %d of store or cache failed with class %s, the sink with %s: %v", how.nth, how.class, sdk.ClassOf(o.Failure), o.Failure)
	case len(o.Errors) > 0:
		v.t.Errorf("Write: call %d of store or cache failed with class %s, and the sink refused records for good: %s", how.nth, how.class, say(o))
	}
	if o.Failure != nil {
		v.send(true, batch)
		if o := v.outcome(); o.Failure != nil || len(o.Errors) > 0 {
			v.t.Errorf("Write: call %d of store or cache had failed, and the same batch is not stored when it comes again: %s", how.nth, say(o))
		}
	}
	return calls
}

// sinkKilled kills the process at each step, and writes everything again that has no answer.
func sinkKilled(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	number := 0
	more := func(n int) []sdk.Record {
		number += n
		return exams(t, number-n, n)
	}
	again := func(when string) {
		t.Helper()
		v.proc.kill(t)
		if v.group != nil {
			v.end()
		}
		v.when = "it was killed " + when
		v.begin()
	}
	again("before Open")
	opening := v.opening(nil)
	v.proc.during(t, func(ctx context.Context) error { return v.proc.conn.OpenSink(ctx, opening) })
	again("in Open")
	v.open()
	again("after Open")
	v.open()
	const batches, size = 40, 50
	first := number
	for i := range batches {
		v.send(false, more(size))
		if i == batches/2 {
			v.outcome()
			break
		}
	}
	again("in Write")
	answered := 1
	for o := range v.answers {
		if o.Failure == nil {
			answered++
		}
	}
	v.open()
	number = first + answered*size
	for range batches - answered {
		v.write(more(size))
	}
	again("after Write")
	v.open()
	v.write(more(size))
	v.proc.during(t, v.proc.conn.CloseSink)
	again("in Close")
	v.open()
	v.write(more(size))
	v.close()
	v.check(s.Idempotent, exams(t, 0, number))
}

func sinkLeft(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	number := 0
	checkLeft(t, lodger{
		proc: func() *process { return v.proc },
		renew: func() {
			v.proc.stop(t)
			v.begin()
		},
		cycle: func() {
			v.open()
			v.write(exams(t, number, 2))
			number += 2
			v.close()
		},
	})
}

// sinkLogs has it write what is good, what is bad, and while store and cache fail.
func sinkLogs(t testing.TB, s *Sink) {
	v := newVisit(t, s)
	v.open()
	good, failed := exams(t, 0, 100), exams(t, 100, few)
	v.write(good)
	v.host.fail(fault{class: sdk.ClassBusy})
	v.send(true, failed)
	o := v.outcome()
	v.host.mend()
	patients := append(patientsOf(good[:few]), patientsOf(failed)...)
	checkQuoted(t, "the error of Write", say(o), patients)
	v.close()
	v.proc.stop(t)
	checkLogs(t, v.proc, len(good), patients)
}
