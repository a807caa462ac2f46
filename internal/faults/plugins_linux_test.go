package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	kills = flag.Int("kills", 5, "of TestPluginKills: how many plugins are killed")
	hands = flag.Int("hands", 5, "of TestPluginKills: how many of them at about the same time")
)

const (
	manyKills = 500         // that have a p99
	backGoal  = time.Second // from the kill to the next process that is up
	backSlow  = 5 * time.Second
	ownTime   = 600 * time.Millisecond // that a plugin runs at least: one that runs for less than its last pause waits longer
	slower    = 2                      // times: p99 of the others' time while a plugin is down
	heldUp    = 500 * time.Millisecond // what no pause of another's plugin may cost
)

// TestPluginKills kills plugins of devices and sinks under load at random instants, a few at about the same time, and lets
// the host run undisturbed for as long in between. Each kill hits a plugin that has stored or delivered something in this
// process. In the end every record is accounted for.
//
// Many kills, which are those of a quiet machine, hold the goals: 99 of 100 are back within a second, and the calm device's
// records take at most twice their time at p99. A few hold medians, with room for a machine that has other work.
func TestPluginKills(t *testing.T) {
	random := seeded(t)
	t.Parallel()
	c, o := newClinic(t), newOracle()
	c.busy(o)
	began := time.Now()
	var blows []*blow
	var down []span
	for len(blows) < *kills {
		time.Sleep(ownTime + time.Duration(random.Int64N(int64(ownTime)))) // the instant is what is random
		now := c.killSome(random, o, min(*hands, *kills-len(blows)))
		blows = append(blows, now...)
		last := time.Duration(0)
		for _, b := range now {
			last = max(last, b.at.Sub(now[0].at)+b.working)
		}
		down = append(down, span{now[0].at, now[0].at.Add(last)})
	}
	c.kill()
	told := c.account(o)
	t.Logf("%d plugins killed: %d records of the witness, %d of the generator, %d files, none lost", len(blows), told, o.row["gen"].last, len(o.share))
	back(t, blows)
	c.others(began, down)
}

// killSome kills n plugins within a fifth of a second, and waits until all of them work again.
func (c *clinic) killSome(random *rand.Rand, o *oracle, n int) (list []*blow) {
	c.t.Helper()
	for i, u := range some(random, units, n) {
		if i > 0 {
			time.Sleep(time.Duration(random.Int64N(int64(200*time.Millisecond) / int64(n))))
		}
		list = append(list, c.strike(u, c.process(u), syscall.SIGKILL))
	}
	c.mended(o, list)
	return list
}

// back holds how soon the plugins were back.
func back(t *testing.T, blows []*blow) {
	t.Helper()
	var up, working []time.Duration
	late := 0
	for _, b := range blows {
		up, working = append(up, b.up), append(working, b.working)
		if b.up > backGoal {
			late++
		}
	}
	p50, p99 := quantile(up, 0.5), quantile(up, 0.99)
	t.Logf("back after p50 %s, p99 %s, at most %s, %d of %d after more than %s; at work after p50 %s, p99 %s", p50, p99, quantile(up, 1),
		late, len(blows), backGoal, quantile(working, 0.5), quantile(working, 0.99))
	if p50 > backSlow {
		t.Errorf("the median of the plugins is back after %s, the goal is %s", p50, backGoal)
	}
	if len(blows) >= manyKills && p99 > backGoal {
		t.Errorf("p99 of the plugins is back after %s, the goal is %s", p99, backGoal)
	}
}

// span is a time in which a plugin was down.
type span struct{ from, to time.Time }

// others holds how long after they were due the calm device's records were safe, of those that were on their way while a plugin
// was down against those of the time in between.
func (c *clinic) others(began time.Time, down []span) {
	c.t.Helper()
	text, err := os.ReadFile(c.path("calm.times"))
	if err != nil {
		c.t.Fatal(err)
	}
	var calm, disturbed []time.Duration
	for line := range strings.Lines(string(text)) {
		var at, took int64
		if _, err := fmt.Sscanf(line, "%d %d", &at, &took); err != nil {
			c.t.Fatalf("times of the calm device: %q: %v", line, err)
		}
		end := time.Unix(0, at)
		begin := end.Add(-time.Duration(took))
		for len(down) > 1 && down[0].to.Before(begin) {
			down = down[1:]
		}
		switch {
		case begin.Before(began):
		case end.After(down[0].from) && begin.Before(down[0].to):
			disturbed = append(disturbed, time.Duration(took))
		case begin.Before(down[len(down)-1].to): // behind the last one the host is killed
			calm = append(calm, time.Duration(took))
		}
	}
	was, is := quantile(calm, 0.5), quantile(disturbed, 0.5)
	was99, is99 := quantile(calm, 0.99), quantile(disturbed, 0.99)
	c.t.Logf("another device's record is safe after p50 %s, p99 %s while plugins are down (%d), p50 %s, p99 %s in between (%d): %.2f times at p99",
		is, is99, len(disturbed), was, was99, len(calm), float64(is99)/float64(was99))
	if is > was*10+heldUp || len(calm) == 0 || len(disturbed) == 0 {
		c.t.Errorf("another device is held up: its record is safe after %s while plugins are down, after %s in between", is, was)
	}
	if *kills >= manyKills && *hands == 1 && is99 > slower*was99 {
		c.t.Errorf("another device is slower: p99 of its records is %s while a plugin is down, %s in between", is99, was99)
	}
}
