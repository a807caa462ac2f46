package sdktest

import (
	"testing"
	"time"

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
		t.Errorf("Close what is closed: %v", err)
	}
}

func deviceFailedOpen(t testing.TB, d *Device) {
	tr := newTrial(t, d)
	tr.give(few)
	if err := tr.tryOpen(map[string]any{"no_such_setting": "x"}); err == nil {
		t.Log("Open did not fail, which another rule reports")
	}
	if err := tr.tryClose(); err != nil {
		t.Errorf("Close after an Open that failed: %v", err)
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
			t.Errorf("Open: record %s was not acknowledged and does not come again", id)
		}
	}
	for id := range second.ids() {
		if !seen[id] {
			t.Errorf("Open: record %s was not acknowledged and does not come again", id)
		}
	}
	for id := range seen {
		if again[id] {
			t.Errorf("Open: record %s was acknowledged and comes again", id)
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
				t.Errorf("Read: record %s comes again with another kind or content: %s, first %s", r.ID, got, want)
			}
		}
		s.ack(b)
	}
	if compared == 0 {
		t.Error("Read: no record comes again with the same id")
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
		t.Errorf("Read: it sent %d batches without an Ack, its window is %d", open, window)
	}
	if open == 0 {
		t.Errorf("Read: no record came within %v", d.Wait)
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
		t.Fatalf("Close while Read blocks: %v after %v, the limit is %v", err, time.Since(begin), closeTime)
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
			t.Fatal("Close: the stream does not end with it, so Read does not either")
		}
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
			t.Fatalf("Read: wait for records: %v after %d of %d", err, got, tr.total)
		}
		if number++; b.number != number {
			t.Errorf("Read: message has the number %d, want %d", b.number, number)
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
		t.Errorf("Read: the host refuses the batch: %v", b.broken)
	}
	if len(b.records) > sdk.MaxBatch {
		t.Errorf("Read: batch of %d records, the limit is %d", len(b.records), sdk.MaxBatch)
	}
	sum := 0
	for _, n := range b.sizes {
		sum += n
	}
	if len(b.records) > 1 && sum > sdk.MaxBatchSize {
		t.Errorf("Read: batch of %d records has %d bytes, the limit is %d", len(b.records), sum, sdk.MaxBatchSize)
	}
	if len(b.next) > sdk.MaxPosition {
		t.Errorf("Read: position of %d bytes, the limit is %d", len(b.next), sdk.MaxPosition)
	}
	for i := range b.records {
		r := &b.records[i]
		if r.Source != "" || r.Seq != 0 || !r.Received.IsZero() {
			t.Errorf("Read: record %s has host stamps, which a device leaves empty", r.ID)
		}
		for j := range r.Attachments {
			if err := checkAttachment(staging, &r.Attachments[j]); err != nil {
				t.Errorf("Read: record %s: %v", r.ID, err)
			}
		}
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
	started := children(t, tr.proc.pid)
	if !tr.proc.endHost(t) {
		t.Errorf("between Read and Ack: it lives %v after its standard input ended", endTime)
		tr.proc.kill(t)
	}
	checkOrphans(t, started)
	s.end()
}
