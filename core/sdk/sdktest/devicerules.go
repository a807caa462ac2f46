package sdktest

import (
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// few is how many records a rule asks an instrument for.
const few = 20

func deviceUnknownSetting(t testing.TB, d *Device) {
	checkUnknownSetting(t, newTrialOfSettings(t, d).tryOpen)
}

func deviceWrongType(t testing.TB, d *Device) {
	tr := newTrialOfSettings(t, d)
	checkWrongType(t, tr.proc.manifest.Settings, tr.tryOpen)
}

func deviceReopens(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	for range 4 {
		s := tr.open()
		s.mustBatch()
		tr.close()
	}
	if err := tr.tryClose(); err != nil {
		t.Errorf("close what is closed: %v", err)
	}
}

func deviceFailedOpen(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	if err := tr.tryOpen(map[string]any{"no_such_setting": "x"}); err == nil {
		t.Log("open did not fail, which another rule reports")
	}
	if err := tr.tryClose(); err != nil {
		t.Errorf("close after a failed open: %v", err)
	}
	tr.open().mustBatch()
	tr.close()
}

// deviceBringsBack leaves a batch without an answer: at first the only one, then the one after an acknowledged one.
func deviceBringsBack(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	lost := tr.open().mustBatch().ids()
	tr.close()

	s := tr.open()
	first := s.mustBatch()
	again := map[string]bool{}
	for id := range first.ids() {
		again[id] = true
	}
	s.ack(first)
	tr.give(few)
	second := s.mustBatch()
	tr.close()

	s = tr.open()
	seen := map[string]bool{}
	s.drain(tr.total-len(again), seen)
	for id := range lost {
		if !again[id] && !seen[id] {
			t.Errorf("record %s was not acknowledged and does not come again", id)
		}
	}
	for id := range second.ids() {
		if !seen[id] {
			t.Errorf("record %s was not acknowledged and does not come again", id)
		}
	}
	for id := range seen {
		if again[id] {
			t.Errorf("record %s was acknowledged and comes again", id)
		}
	}
}

// deviceSameAgain reads the same records in two processes.
func deviceSameAgain(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	first := map[string]string{}
	b := tr.open().mustBatch()
	for i := range b.records {
		r := &b.records[i]
		first[r.ID] = r.Kind + " " + r.ContentHashHex()
	}
	tr.close()
	tr.proc.stop(t)
	s := tr.restart()
	compared := 0
	for compared < len(first) {
		b, err := s.batch()
		if err != nil {
			break // another rule reports what does not come again
		}
		for i := range b.records {
			r := &b.records[i]
			want, ok := first[r.ID]
			if !ok {
				continue
			}
			compared++
			if got := r.Kind + " " + r.ContentHashHex(); got != want {
				t.Errorf("record %s comes again with another kind or content: %s, first %s", r.ID, got, want)
			}
		}
		s.ack(b)
	}
	if compared == 0 {
		t.Error("no record comes again with the same id")
	}
}

// deviceWindow answers nothing.
func deviceWindow(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	open, parts := 0, 0
	for wait := d.Wait; ; wait = quiet {
		b, err := s.message(wait)
		if err != nil {
			break
		}
		parts++
		if b.next != "" {
			open++
		}
		tr.give(1)
		if parts > 10*maxWindow {
			break // it never stops
		}
	}
	if open == 0 {
		open = parts // it has no positions
	}
	if window := max(tr.proc.manifest.Window, 1); open > window {
		t.Errorf("had %d batches open, its window is %d", open, window)
	}
	if open == 0 {
		t.Errorf("no record came within %v", d.Wait)
	}
	tr.close()
}

// deviceCloses closes while Read waits for an instrument that has nothing more.
func deviceCloses(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	s.drain(tr.total, map[string]bool{})
	for {
		b, err := s.message(quiet) // let it go into Read
		if err != nil {
			break
		}
		s.ack(b)
	}
	begin := time.Now()
	if err := tr.tryClose(); err != nil {
		t.Fatalf("close while Read blocks: %v after %v, the limit is %v", err, time.Since(begin), closeTime)
	}
	over := time.NewTimer(closeTime)
	defer over.Stop()
	for {
		select {
		case _, ok := <-s.mail:
			if !ok {
				return
			}
		case <-over.C:
			t.Fatal("the stream does not end with Close")
		}
	}
}

// deviceRefused refuses the first batch. The device may go on, or end its stream and be opened again.
func deviceRefused(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	first := s.mustBatch()
	if err := s.run.Send(wire.Answer{Refused: first.number, Reason: sdk.ReasonFull}); err != nil {
		t.Fatalf("refuse: %v", err)
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
		t.Errorf("record %s was refused and does not come again", id)
	}
}

// deviceLimits reads everything and looks at each message.
func deviceLimits(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	for got, number := 0, uint64(0); got < tr.total; {
		b, err := s.message(d.Wait)
		if err != nil {
			t.Fatalf("wait for records: %v after %d of %d", err, got, tr.total)
		}
		if number++; b.number != number {
			t.Errorf("message has the number %d, want %d", b.number, number)
		}
		checkLimits(t, tr.staging, b)
		if t.Failed() {
			return
		}
		got += len(b.records)
		s.ack(b)
	}
}

func checkLimits(t testing.TB, staging string, b *batch) {
	t.Helper()
	if b.broken != nil {
		t.Errorf("the host refuses the batch: %v", b.broken)
	}
	if len(b.records) > sdk.MaxBatch {
		t.Errorf("batch of %d records, the limit is %d", len(b.records), sdk.MaxBatch)
	}
	sum := 0
	for _, n := range b.sizes {
		sum += n
	}
	if len(b.records) > 1 && sum > sdk.MaxBatchSize {
		t.Errorf("batch of %d records has %d bytes, the limit is %d", len(b.records), sum, sdk.MaxBatchSize)
	}
	if len(b.next) > sdk.MaxPosition {
		t.Errorf("position of %d bytes, the limit is %d", len(b.next), sdk.MaxPosition)
	}
	for i := range b.records {
		r := &b.records[i]
		if r.Source != "" || r.Seq != 0 || !r.Received.IsZero() {
			t.Errorf("record %s has host stamps, which a device leaves empty", r.ID)
		}
		for j := range r.Attachments {
			if err := checkAttachment(staging, &r.Attachments[j]); err != nil {
				t.Errorf("record %s: %v", r.ID, err)
			}
		}
	}
}

// deviceKilled kills the process with batches open, and accounts for every record.
func deviceKilled(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	first := s.mustBatch()
	stored := first.ids()
	s.ack(first)
	tr.give(few)
	s.mustBatch()
	tr.proc.kill(t)
	s = tr.restart()
	seen := map[string]bool{}
	s.drain(tr.total-len(stored), seen)
	for id := range seen {
		if stored[id] {
			t.Errorf("record %s was acknowledged and comes again", id)
		}
	}
	if n := len(stored) + len(seen); n != tr.total {
		t.Errorf("%d records arrived, the instrument gave %d", n, tr.total)
	}
}

func devicePrints(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	s.drain(tr.total, map[string]bool{})
	tr.proc.stop(t)
	checkPrinted(t, tr.proc)
}

// deviceEnds ends the host while batches are open.
func deviceEnds(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	s := tr.open()
	s.mustBatch()
	if !tr.proc.endHost(t) {
		t.Errorf("lives %v after its standard input ended", endTime)
		tr.proc.kill(t)
	}
	s.end()
}
