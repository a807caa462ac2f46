package sdktest

import (
	"context"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// checkOrder goes through each pair of open, close and an open that fails, from a close before the first open on.
func checkOrder(t testing.TB, open func(more map[string]any) error, end func() error) {
	t.Helper()
	steps := strings.Fields("Close Open Open bad-Open Open Close Close bad-Open bad-Open Close")
	for i, step := range steps {
		var err error
		switch step {
		case "Open":
			err = open(nil)
		case "Close":
			err = end()
		case "bad-Open":
			_ = open(map[string]any{"no_such_setting": "x"}) // that it fails is another rule
		}
		if err != nil {
			t.Fatalf("%s as the last call of %s: %v", step, strings.Join(steps[:i+1], ", "), err)
		}
	}
}

func deviceAnyOrder(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	checkOrder(t, tr.tryOpen, tr.tryClose)
	tr.open().mustBatch()
	tr.close()
}

func deviceBounds(t testing.TB, d *Device) {
	tr := newTrialOfSettings(t, d)
	checkBounds(t, tr.proc.manifest.Settings, tr.tryOpen)
}

// large is what an author need not notice, in bytes.
const large = 5 << 20

func deviceLarge(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	if tr.in.Large == nil {
		t.Skip("the instrument gives no large record")
	}
	tr.in.Large(large)
	s := tr.open()
	for {
		b, err := s.message(d.Wait)
		if err != nil {
			t.Fatalf("Read: the instrument has a record of %d bytes, and none came with an attachment as large: %v", large, err)
		}
		checkLimits(t, tr.staging, b)
		for i := range b.records {
			for _, a := range b.records[i].Attachments {
				if a.Size >= large {
					return
				}
			}
		}
		if t.Failed() {
			return
		}
		s.ack(b)
	}
}

// deviceSlow has a host that does not read for a while, and one that answers late.
func deviceSlow(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	s.gate.Lock()
	pause(t, slow)
	tr.proc.answers(t)
	s.gate.Unlock()
	first := s.mustBatch()
	seen := first.ids()
	pause(t, slow)
	tr.proc.answers(t)
	s.ack(first)
	s.drain(tr.total, seen)
	if len(seen) != tr.total {
		t.Errorf("Read: after an Ack that came late %d of %d records have come", len(seen), tr.total)
	}
	tr.give(few)
	s.gate.Lock()
	err := tr.tryClose()
	s.gate.Unlock()
	if err != nil {
		t.Errorf("Close while the host does not read: %v, the limit is %v", err, closeTime)
	}
	s.end()
}

// deviceCut ends the stream without a Close before, as a host does that has failed.
func deviceCut(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	first := s.mustBatch()
	stored := first.ids()
	s.ack(first)
	tr.give(few)
	s.mustBatch()
	s.end()
	if err := tr.tryClose(); err != nil {
		t.Errorf("Close after the stream was cut: %v", err)
	}
	tr.account(tr.open(), stored)
}

// account reads all that is left, and compares what has arrived with what the instrument has given.
func (tr *trial) account(s *session, stored map[string]bool) {
	tr.t.Helper()
	seen := map[string]bool{}
	s.drain(tr.total-len(stored), seen)
	for id := range seen {
		if stored[id] {
			tr.t.Errorf("Open: record %s was acknowledged and comes again%s", id, after(tr.when))
		}
	}
	if n := len(stored) + len(seen); n != tr.total {
		tr.t.Errorf("Open: %d records have arrived, the instrument has given %d%s", n, tr.total, after(tr.when))
	}
}

// deviceKilled kills the process at each step, and accounts for every record.
func deviceKilled(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	stored := map[string]bool{}
	again := func(when string) *session {
		t.Helper()
		tr.proc.kill(t)
		tr.when = "it was killed " + when
		return tr.restart()
	}
	tr.give(few)
	again("before Open")
	opening := tr.opening(nil)
	tr.proc.kill(t)
	tr.s.end()
	tr.proc = start(t, d.Binary)
	tr.proc.during(t, func(ctx context.Context) error { return tr.proc.conn.OpenDevice(ctx, opening) })
	again("in Open")
	s := again("after Open")
	s.mustBatch()
	s = again("between Read and Ack")
	b := s.mustBatch()
	for id := range b.ids() {
		stored[id] = true
	}
	s.ack(b)
	tr.give(few)
	s = again("after Ack")
	s.mustBatch()
	tr.proc.during(t, tr.proc.conn.CloseDevice)
	tr.account(again("in Close"), stored)
}

// deviceRefused refuses the first batch: the host has no room, or is too late.
func deviceRefused(t testing.TB, d *Device) {
	for _, why := range []sdk.Reason{sdk.ReasonFull, sdk.ReasonLate} {
		if refuseFirst(t, d, why); t.Failed() {
			return
		}
	}
}

// refuseFirst refuses the first batch. The device may go on, or end its stream and be opened again.
func refuseFirst(t testing.TB, d *Device, why sdk.Reason) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	first := s.mustBatch()
	if err := s.run.Send(wire.Answer{Refused: first.number, Reason: why}); err != nil {
		t.Fatalf("Refuse (%s): %v", why, err)
	}
	missing := first.ids()
	for reopened := false; len(missing) > 0; {
		b, err := s.batch()
		if err != nil && !reopened {
			reopened = true
			tr.close()
			s = tr.open()
			continue
		}
		if err != nil {
			break
		}
		if !reopened && tr.proc.manifest.Window > 1 {
			continue // it was sent before the refusal arrived; the device is reopened
		}
		for i := range b.records {
			delete(missing, b.records[i].ID)
		}
		s.ack(b)
	}
	for id := range missing {
		t.Errorf("Read: record %s was refused (%s) and does not come again", id, why)
	}
	tr.close()
	tr.proc.stop(t)
}

func deviceLeft(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	checkLeft(t, lodger{
		proc: func() *process { return tr.proc },
		renew: func() {
			tr.proc.stop(t)
			tr.proc = start(t, d.Binary)
		},
		cycle: func() {
			tr.open().mustBatch()
			tr.close()
		},
	})
}

func deviceLogs(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	var patients []string
	count := 0
	for count < tr.total {
		b, err := s.batch()
		if err != nil {
			break
		}
		count += len(b.records)
		if len(patients) < few {
			patients = append(patients, patientsOf(b.records)...)
		}
		s.ack(b)
	}
	tr.close()
	tr.proc.stop(t)
	checkLogs(t, tr.proc, count, patients)
}
