package faults

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	awayRecords = flag.Int64("records", 10_000, "of TestSinkAway: how many come in while a sink is away")
	awayRate    = flag.Int("rate", 10_000, "of TestSinkAway: records per second while they come in; 0 is as fast as the host takes them")
)

const (
	awayMemory = 10e6 // bytes that the host may have more behind the backlog than in its first fifth
)

const apart = `
spool: {segment_size_mb: 16, keep: 1s}
devices:
  - {name: wit, plugin: witness, settings: {journal: %q, rate: %d, last: %d, size: 300}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
  - {name: served, plugin: file, settings: {dir: served}}
`

// TestSinkAway lets a sink be away while records come in, and then come back: a file stands where its folder should be. The
// other sink is served meanwhile, the host's memory does not follow the backlog, and all of it is delivered.
func TestSinkAway(t *testing.T) {
	seeded(t)
	c, o := newClinic(t), newOracle()
	c.write("archive", "in the way of the sink's folder")
	c.configure(fmt.Sprintf(apart, c.path("wit.journal"), *awayRate, *awayRecords))
	c.start()
	begin := time.Now()
	var before gauges
	c.waitLong("the first records", func(s *status) bool {
		if g, err := c.gauges(); err == nil && g.memory > before.memory {
			before = g
		}
		return s.sink("served").Delivered >= *awayRecords/5
	})
	s := c.waitLong("the other sink is served", func(s *status) bool { return s.sink("served").Delivered == *awayRecords })
	arrival := float64(*awayRecords) / time.Since(begin).Seconds()
	if s.sink("archive").Backlog != *awayRecords {
		t.Fatalf("the sink was not away: %+v", s.sink("archive"))
	}
	after := c.atRest()
	t.Logf("%d records in, %.0f/s; the host has %s, and had %s", *awayRecords, arrival, after, before)
	if after.memory > before.memory+awayMemory {
		t.Errorf("memory grew from %.1f to %.1f MB with the backlog", before.memory/1e6, after.memory/1e6)
	}
	if err := os.Remove(c.path("archive")); err != nil {
		t.Fatal(err)
	}
	c.until("the sink is back", func(s *status) bool { return s.sink("archive").Delivered > 0 })
	back := time.Now()
	at, err := c.status()
	if err != nil {
		t.Fatal(err)
	}
	c.waitLong("the backlog is delivered", func(s *status) bool { return s.sink("archive").Backlog == 0 })
	drain := float64(at.sink("archive").Backlog) / time.Since(back).Seconds()
	t.Logf("drained at %.0f/s, %.1f times the rate of arrival; then the host has %s", drain, drain/arrival, c.atRest())
	if left := at.sink("archive").Backlog; *awayRecords >= 100_000 && left > *awayRecords/4 && drain < 5*arrival { // fewer are gone too soon for a rate
		t.Errorf("drained at %.0f/s, less than five times the arrival of %.0f/s", drain, arrival)
	}
	c.stop()
	o.awayVerdict(c)
}

// waitLong is until for something that takes as long as there are records.
func (c *clinic) waitLong(what string, ok func(*status) bool) status {
	c.t.Helper()
	s, err := c.within(*patience+time.Duration(*awayRecords)*time.Millisecond, ok)
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	return s
}

// awayVerdict holds both sinks' files against the journal.
func (o *oracle) awayVerdict(c *clinic) {
	c.t.Helper()
	told, err := o.journal(c.path("wit.journal"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, dir := range []string{"archive", "served"} {
		one := newOracle()
		if err := one.lines(c.path(dir)); err != nil {
			c.t.Fatal(err)
		}
		one.complete(dir, one.line, map[string]int64{"wit": told}, nil)
		o.faults = append(o.faults, one.faults...)
	}
	if told != *awayRecords || len(o.faults) > 0 {
		c.t.Fatalf("%d of %d records told; faults: %q", told, *awayRecords, o.faults)
	}
}
