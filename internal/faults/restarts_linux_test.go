package faults

import (
	"flag"
	"fmt"
	"testing"
)

var (
	restarts = flag.Int("restarts", 2, "of TestRestarts: how often the host is started; memory is compared from 10 on")
	each     = flag.Int64("each", 1000, "of TestRestarts: records between two starts")
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
	growth      = 1.10 // of memory, at the same state, between the first lives and the last
	enoughLives = 10   // for a comparison of memory, which differs by a twentieth from life to life
)

// TestRestarts starts the host again and again on one data folder, with records and a killed plugin in each of its lives.
// At rest it must hold what it held in its first life: no goroutine and no open file more, memory within a tenth.
func TestRestarts(t *testing.T) {
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.drop(o, 1)
	names := []string{"witness", "folder", "sql", "file"}
	var first gauges
	var all []gauges
	for n := range *restarts {
		last := int64(n+1) * *each
		c.configure(fmt.Sprintf(restless, c.path("wit.journal"), last))
		c.start()
		c.rest(last)
		if n == 0 {
			c.introduced()
			first = c.atRest()
		}
		c.comesDownTo(first, fmt.Sprintf("start %d", n+1))
		name := names[random.IntN(len(names))]
		c.killPlugin(name)
		c.drop(o, 5)
		c.rest(last)
		all = append(all, c.comesDownTo(first, fmt.Sprintf("plugin %s, which was killed in life %d,", name, n+1)))
		if random.IntN(2) == 0 {
			c.kill()
		} else {
			c.stop()
		}
	}
	compare(t, all)
	told := o.verdict(c)
	t.Logf("%d lives, %d records, none lost; the host held %s in the first, %s in the last", *restarts, told, all[0], all[len(all)-1])
}

// rest waits until all records are told and delivered.
func (c *clinic) rest(last int64) {
	c.t.Helper()
	c.until("everything delivered", func(s *status) bool { return c.settled(s) && s.device("wit").Records >= last && c.told(c.t) >= last })
}

// compare holds the memory of the last third of the lives against that of the first.
func compare(t *testing.T, all []gauges) {
	t.Helper()
	if len(all) < enoughLives {
		return
	}
	n := len(all) / 3
	first, last := median(all[:n], memory), median(all[len(all)-n:], memory)
	t.Logf("memory: %.1f MB in the first %d lives, %.1f MB in the last", first/1e6, n, last/1e6)
	if last > growth*first {
		t.Errorf("memory grew from %.1f MB in the first lives to %.1f MB in the last", first/1e6, last/1e6)
	}
}
