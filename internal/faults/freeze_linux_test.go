package faults

import (
	"flag"
	"slices"
	"syscall"
	"testing"
	"time"
)

var freezes = flag.Int("freezes", 1, "of TestFreeze: how often a device's and a sink's plugin are stopped")

const (
	manyFreezes   = 10               // of which each must meet the goals, not the median
	noticedWithin = 10 * time.Second // from SIGSTOP to a status that says so
	goneWithin    = 15 * time.Second // to the end of the process
)

// TestFreeze stops the plugins of a device and of a sink with SIGSTOP: they keep their connections, and only their silence
// tells. They are replaced, the others go on meanwhile, and every record is accounted for.
func TestFreeze(t *testing.T) {
	random := seeded(t)
	t.Parallel()
	c, o := newClinic(t), newOracle()
	c.busy(o)
	var noticed, ended, back []time.Duration
	first := random.IntN(len(units))
	for n := range *freezes {
		time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second)))) // the instant between two looks of the host is what is random
		frozen := []unit{units[(first+n)%3], units[3+(first+n)%2]}
		list := c.freeze(o, frozen)
		c.mended(o, list)
		for _, b := range list {
			t.Logf("%s: noticed after %s, gone after %s, up again after %s", b.unit.name, b.noticed, b.gone, b.up)
			noticed, ended, back = append(noticed, b.noticed), append(ended, b.gone), append(back, b.up)
		}
	}
	c.kill()
	told := c.account(o)
	t.Logf("%d plugins stopped: %d records of the witness, %d of the generator, %d files, none lost; noticed after p50 %s, at most %s; gone after p50 %s, at most %s; up again after at most %s",
		len(noticed), told, o.row["gen"].last, len(o.share), quantile(noticed, 0.5), quantile(noticed, 1), quantile(ended, 0.5), quantile(ended, 1), quantile(back, 1))
	share := 0.49 // the median, of two the better one
	if *freezes >= manyFreezes {
		share = 1
	}
	if took := quantile(noticed, share); took > noticedWithin {
		t.Errorf("a stopped plugin is noticed after %s, the goal is %s", took, noticedWithin)
	}
	if took := quantile(ended, share); took > goneWithin {
		t.Errorf("a stopped plugin is gone after %s, the goal is %s", took, goneWithin)
	}
}

// freeze stops the units' processes, and wants new work of every other one before they are gone.
func (c *clinic) freeze(o *oracle, frozen []unit) (list []*blow) {
	c.t.Helper()
	before, err := c.status()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, u := range frozen {
		list = append(list, c.strike(u, c.process(u), syscall.SIGSTOP))
	}
	c.drop(o, 1)
	c.until("the others go on", func(s *status) bool {
		for _, b := range list {
			b.look(s)
		}
		return !slices.ContainsFunc(units, func(u unit) bool {
			_, _, was := u.state(&before)
			_, _, is := u.state(s)
			return is == was && !slices.Contains(frozen, u)
		})
	})
	if !slices.ContainsFunc(list, func(b *blow) bool { return b.gone == 0 }) {
		c.t.Errorf("the others waited until the stopped plugins were gone")
	}
	return list
}
