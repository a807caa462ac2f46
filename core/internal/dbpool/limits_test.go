package dbpool_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/sdk"
)

// TestSetLimits makes a pool larger and smaller while every connection is held and others wait.
func TestSetLimits(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		readers := func(maxOpen int) int {
			if d.served {
				return maxOpen
			}
			return maxOpen - 1 // one writes
		}
		o := dbpool.Options{MaxOpen: 3, AcquireTimeout: time.Hour, OperationTimeout: time.Hour}
		p := d.running(t, o)
		expr, open := d.hold(t)
		var wg sync.WaitGroup
		const all = 12
		sinks := []string{"emr", "pacs", "lab"}
		for i := range all {
			wg.Go(func() {
				if _, err := p.Store(sinks[i%3]).Query(t.Context(), sdk.Query{SQL: "SELECT " + expr}); err != nil {
					t.Error(err)
				}
			})
		}
		held := func(maxOpen int) {
			t.Helper()
			until(t, "as many at once as there are connections", func() bool {
				s := p.Stats()
				return s.InUse == readers(maxOpen) && s.Waiting == all-s.InUse && s.MaxOpen == maxOpen
			})
		}
		held(3)
		for _, n := range []int{5, 8} {
			o.MaxOpen = n
			if err := p.SetLimits(o); err != nil {
				t.Fatal(err)
			}
			held(n)
		}
		o.MaxOpen = 2
		if err := p.SetLimits(o); err != nil {
			t.Fatal(err)
		}
		if s := p.Stats(); s.InUse != readers(8) {
			t.Errorf("%d in use: what has begun must go on", s.InUse)
		}
		open()
		wg.Wait()
		until(t, "what is too much is closed", func() bool { return p.Stats().Open <= 2 })
		expr, open = d.hold(t)
		for i := range all {
			wg.Go(func() {
				if _, err := p.Store(sinks[i%3]).Query(t.Context(), sdk.Query{SQL: "SELECT " + expr}); err != nil {
					t.Error(err)
				}
			})
		}
		held(2)
		open()
		wg.Wait()
		o.MaxOpen = 1
		if err := p.SetLimits(o); err == nil || p.Stats().MaxOpen != 2 {
			t.Errorf("a pool of one connection: %v, %+v", err, p.Stats())
		}
	})
}

// TestSetLimitsOfTheMonitor switches it on, off, and on with another interval; and the logs of queries.
func TestSetLimitsOfTheMonitor(t *testing.T) {
	log := &lines{}
	p := running(t, dbpool.Options{MaxOpen: 4, MonitorInterval: time.Hour, Log: log.logger()})
	count := func(text string) int { return strings.Count(log.String(), text) }
	set := func(o dbpool.Options) {
		t.Helper()
		o.MaxOpen = 4
		if err := p.SetLimits(o); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() {
		t.Helper()
		if _, err := p.Store("emr").Query(t.Context(), sdk.Query{SQL: "SELECT 1"}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if count("Pool Status")+count("database operation") > 0 {
		t.Fatal(log)
	}
	set(dbpool.Options{MonitorEnabled: true, MonitorInterval: time.Millisecond, QueryLog: true, SlowQuery: time.Nanosecond})
	until(t, "three status lines", func() bool { return count("Pool Status") >= 3 })
	ask()
	until(t, "both logs of queries", func() bool { return count("\"database operation\"") == 1 && count("slow database operation") == 1 })
	set(dbpool.Options{MonitorInterval: time.Millisecond})
	ask()
	if count("\"database operation\"") != 1 || count("slow database operation") != 1 {
		t.Error("a query is logged that is not to be")
	}
	set(dbpool.Options{MonitorEnabled: true, MonitorInterval: time.Hour})
	lines := count("Pool Status")
	ask()
	if n := count("Pool Status"); n > lines+1 { // one may have been on its way
		t.Errorf("%d status lines more with an interval of an hour", n-lines)
	}
}
