package faults

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	restarts = flag.Int("restarts", 0, "0 skips it; of TestRestarts: how often the host is started")
	each     = flag.Int64("each", 3000, "of TestRestarts: records between two starts")
)

const restless = `
spool: {segment_size_mb: 1, keep: 1s, reserve_mb: 1}
devices:
  - {name: wit, plugin: witness, settings: {journal: %q, rate: 0, last: %d, size: 300}}
  - {name: share, plugin: folder, schedule: {every: 200ms}, settings: {dir: in, format: joia, settle: 100ms}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
`

const (
	restLook = 500 * time.Millisecond
	growth   = 1.10 // of memory, at the same state, between the first runs and the last
)

// TestRestarts starts the host again and again on one data folder, with records and a killed plugin in each of its lives.
// At rest it must hold what it held in its first lives: goroutines and open files to the last one, memory within a tenth.
func TestRestarts(t *testing.T) {
	if *restarts == 0 {
		t.Skip("only with -restarts")
	}
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.drop(o, 1)
	names := []string{"witness", "folder", "sql", "file"}
	var all []gauges
	for n := range *restarts {
		last := int64(n+1) * *each
		c.configure(fmt.Sprintf(restless, c.path("wit.journal"), last))
		c.start()
		c.rest(last)
		before := c.atRest(restLook)
		c.killPlugin(names[random.IntN(len(names))])
		c.drop(o, 5)
		c.rest(last)
		after := c.atRest(restLook)
		if after.goroutines > before.goroutines || after.files > before.files {
			t.Errorf("life %d: a plugin that was killed left something: %s before, %s after", n+1, before, after)
		}
		all = append(all, after)
		if random.IntN(2) == 0 {
			c.kill()
		} else {
			c.stop()
		}
	}
	compare(t, all)
	o.verdict(c)
}

// rest waits until all records are told and delivered.
func (c *clinic) rest(last int64) {
	c.t.Helper()
	c.until("everything delivered", func(s *status) bool { return c.settled(s) && s.device("wit").Records >= last && c.told(c.t) >= last })
}

// compare holds the median of the last lives against that of the first ones.
func compare(t *testing.T, all []gauges) {
	t.Helper()
	n := min(5, len(all)/2)
	if n == 0 {
		return
	}
	for _, k := range []struct {
		name string
		more float64
		of   func(gauges) float64
	}{{"goroutines", 1, goroutines}, {"open files", 1, files}, {"bytes of memory", growth, memory}} {
		first, last := median(all[:n], k.of), median(all[len(all)-n:], k.of)
		t.Logf("%s: %.0f in the first %d lives, %.0f in the last", k.name, first, n, last)
		if last > k.more*first {
			t.Errorf("%s grew: %.0f in the first lives, %.0f in the last", k.name, first, last)
		}
	}
}
