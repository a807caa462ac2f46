package host

import (
	"testing"
	"testing/synctest"
	"time"
)

// asleep is how long the computer sleeps, from evening to morning.
const asleep = 8 * time.Hour

// nap is a state in which the computer falls asleep, and what may come of it.
type nap struct {
	name  string
	emr   error       // what emr's writes fail with
	dies  bool        // what emr writes when its stream has ended is not there
	soon  func() bool // from when on no worker is free; nil: from the state on
	is    func() bool // the state
	ended string      // sessions that end: their deadline is over when the computer wakes up
	nos   int         // batches that are refused as late
	again int         // records that come once more for it, at most; receipts make them one
}

// The computer sleeps for 8 hours in the middle of everything, and its clocks run on: nothing is lost, doubled or reordered, a
// poll that was missed is made up for once, and there is no storm of alarms, restarts or lines in the log.
func TestSuspend(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ark, ntx := &instrument{name: "ark-1", rate: 0.25, batch: 8}, &instrument{name: "ntx-1", rate: 0.2, batch: 2}
		share := &instrument{name: "share", rate: 0.125, every: 2 * time.Second, takes: 100 * time.Millisecond}
		oct := &instrument{name: "oct-1", rate: 0.05, every: time.Minute, takes: 5 * time.Second}
		devices := []*instrument{ark, ntx, share, oct}
		for _, in := range devices {
			in.begin, in.limit = time.Now(), 1<<40
		}
		emr, archive := &receiver{name: "emr", slow: 50 * time.Millisecond}, &receiver{name: "archive"}
		sinks := []*receiver{emr, archive}
		cfg := virtualConfig(dir, devices, sinks)
		cfg.Spool.SegmentSizeMB = 2
		c := openClinic(t, cfg, devices, sinks)
		defer c.stop()
		// state says what is under way, and that nothing else is.
		state := func(delivery bool, polls, batches []*instrument) func() bool {
			return func() bool { return delivery == (emr.writes() > 0) && only(devices, polls, batches) }
		}
		about := func(list ...*instrument) func() bool { // one record is missing to their batches
			return func() bool {
				for _, in := range list {
					if in.made()-in.safe() != in.batch-1 {
						return false
					}
				}
				return state(false, nil, nil)()
			}
		}
		one := func(in *instrument) []*instrument { return []*instrument{in} }
		for _, n := range []nap{
			{name: "nothing is under way", is: state(false, nil, nil)},
			{name: "the sink is away and its lane waits", emr: errAway, is: state(false, nil, nil)},
			{name: "a delivery is in the sink's hands", is: state(true, nil, nil), ended: "map[emr:1]", again: 16},
			{name: "a delivery is in the sink's hands, and lost with its plugin", dies: true, is: state(true, nil, nil), ended: "map[emr:1]"},
			{name: "a short poll is under way", is: state(false, one(share), nil), ended: "map[share:1]"},
			{name: "a long poll is under way", is: state(false, one(oct), nil), ended: "map[oct-1:1]"},
			{name: "a batch waits for a worker", soon: about(ark), is: state(false, nil, one(ark)), nos: 1, again: 8},
			{name: "batches of two devices wait for a worker", soon: about(ark, ntx), is: state(false, nil, devices[:2]), nos: 2, again: 8 + 2},
			{name: "a poll waits for a worker", soon: func() bool { return ark.made() == ark.safe() && ntx.made() == ntx.safe() && state(false, nil, nil)() }, is: func() bool { return c.h.workers.Stats().Queued > 0 }},
		} {
			c.sleepsAndWakes(&n, devices, sinks)
		}
		t.Logf("%d records, each once at both sinks; emr was given %d of them once more, archive %d", emr.count(), emr.doubles(), archive.doubles())
	})
}

// only says that of all devices these are being polled, and these wait for the answer to a batch.
func only(devices, polls, batches []*instrument) bool {
	busy := map[*instrument][2]bool{}
	for _, in := range polls {
		busy[in] = [2]bool{false, true}
	}
	for _, in := range batches {
		busy[in] = [2]bool{true, false}
	}
	for _, in := range devices {
		if waits, asked := in.busy(); busy[in] != [2]bool{waits, asked} {
			return false
		}
	}
	return true
}

// sleepsAndWakes falls asleep in a state and accounts for everything after it.
func (c *clinic) sleepsAndWakes(n *nap, devices []*instrument, sinks []*receiver) {
	t := c.t
	t.Helper()
	time.Sleep(2*time.Minute + 137*time.Millisecond) // between two polls
	sinks[0].set(n.emr)
	sinks[0].note(func() { sinks[0].dies = n.dies })
	if n.emr != nil {
		c.until(n.name, time.Hour, time.Second, func() bool { return c.h.now().sinks[0].lane.Waiting() != "" })
	}
	before := []int{sinks[0].doubles(), sinks[1].doubles()}
	nos := refusals(devices)
	c.downs.forget()
	c.log.forget()
	release := func() {}
	defer func() { release() }()
	if n.soon != nil {
		c.until(n.name, time.Hour, time.Millisecond, n.soon)
		release = c.holdWorkers()
	}
	c.until(n.name, time.Hour, time.Millisecond, n.is)
	synctest.Wait() // what has been sent is there
	if n.soon == nil {
		release = c.holdWorkers()
	}
	begin := time.Now()
	c.suspend(asleep, release)
	end := time.Now()
	sinks[0].set(nil)
	for range 60 {
		time.Sleep(time.Second)
		if list := c.alarms(); len(list) > 0 {
			t.Fatalf("%s: alarms after waking up: %+v", n.name, list)
		}
	}
	for _, in := range devices {
		missed, once := in.polled(begin.Add(time.Nanosecond), end), in.polled(end, end.Add(in.every))
		if in.every > 0 && (missed != 0 || once != 1) {
			t.Errorf("%s: %s was polled %d times asleep and %d times in the first %s after it", n.name, in.name, missed, once, in.every)
		}
	}
	time.Sleep(2 * time.Minute)
	c.delivered(sinks...)
	again := 0
	for i, s := range sinks {
		s.holds(t, devices, before[i]+n.again)
		again = max(again, s.doubles()-before[i])
	}
	if n.ended == "" {
		n.ended = "map[]"
	}
	if got := refusals(devices) - nos; got != n.nos || c.downs.String() != n.ended {
		t.Errorf("%s: %d batches were refused, want %d; ended sessions %s, want %s", n.name, got, n.nos, &c.downs, n.ended)
	}
	if lines := c.log.messages.sum(); lines > 4 {
		t.Errorf("%s: %d lines of the log: %s", n.name, lines, &c.log.messages)
	}
	for _, in := range devices {
		if late := in.made() - in.safe(); late > in.batch+10 {
			t.Errorf("%s: %s still has %d records", n.name, in.name, late)
		}
	}
	t.Logf("%s: ended %s, %d refused, %d records again, %d lines of the log", n.name, &c.downs, refusals(devices)-nos, again, c.log.messages.sum())
}

func refusals(devices []*instrument) (n int) {
	for _, in := range devices {
		n += in.negatives()
	}
	return n
}
