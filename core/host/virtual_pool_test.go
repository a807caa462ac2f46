package host

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/spool"
)

// grid says that an instrument was polled once in each of its steps since begin, and how late in them at most.
func grid(t *testing.T, in *instrument, begin, end time.Time) (late time.Duration) {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	for n, at := range in.polls {
		step := begin.Add(time.Duration(n) * in.every)
		if d := at.Sub(step); d < 0 || d >= in.every {
			t.Fatalf("%s: poll %d is %s from its time", in.name, n, d)
		}
		late = max(late, at.Sub(step))
	}
	if want := int(end.Sub(begin) / in.every); len(in.polls) < want {
		t.Errorf("%s was polled %d times in %d steps", in.name, len(in.polls), want)
	}
	return late
}

// 200 listeners that say nothing hold no worker: beside them 20 polled devices on 2 workers, of which polls have one, are
// each read in every step of theirs.
func TestPollsBesideIdleListeners(t *testing.T) {
	const minutes = 2
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var devices []*instrument
		for i := range 200 {
			devices = append(devices, &instrument{name: fmt.Sprint("listener-", i), rate: 0.001, batch: 1000, begin: time.Now()})
		}
		for i := range 20 {
			devices = append(devices, &instrument{
				name: fmt.Sprint("polled-", i), every: 2 * time.Second, takes: 80 * time.Millisecond, rate: 0.1, limit: minutes * 6, begin: time.Now(),
			})
		}
		emr := &receiver{name: "emr"}
		cfg := virtualConfig(dir, devices, []*receiver{emr})
		cfg.Workers.Size = 2
		c := openClinic(t, cfg, devices, []*receiver{emr})
		defer c.stop()
		begin := time.Now()
		time.Sleep(minutes * time.Minute)
		var late time.Duration
		for _, in := range devices[200:] {
			late = max(late, grid(t, in, begin, time.Now()))
		}
		w := c.h.workers.Stats()
		if w.Overruns > 0 || c.downs.String() != "map[]" {
			t.Errorf("%d overruns; sessions ended: %s", w.Overruns, &c.downs)
		}
		t.Logf("no poll later than %s of a step of 2s; %d polls", late, w.Done[0])
		time.Sleep(time.Minute)
		c.delivered(emr)
		emr.holds(t, devices, 0)
	})
}

// frozenDay is what a minute of a clinic on two workers come to: times of the listeners' acknowledgements, of the records' ways
// to the sink that works, and how long after its time a polled device was read.
type frozenDay struct {
	answers, ways time.Duration // p99
	late          time.Duration // the longest
}

const (
	dayEvery   = 2 * time.Second // of polls
	dayTimeout = 3 * time.Second // of a poll
)

// dayLength is shorter under the race detector, which runs the short tests.
func dayLength() time.Duration {
	if testing.Short() {
		return 25 * time.Second
	}
	return time.Minute
}

// clinicOnTwoWorkers has 10 listeners, 6 polled devices and 3 sinks. Two of each of the latter are frozen, or none.
func clinicOnTwoWorkers(t *testing.T, dir string, frozen bool) (day frozenDay) {
	synctest.Test(t, func(t *testing.T) {
		var devices []*instrument
		for i := range 10 {
			devices = append(devices, &instrument{
				name: fmt.Sprint("listener-", i), rate: 5 + float64(i)/5, batch: 1, limit: 1 << 30, begin: time.Now().Add(-time.Duration(i) * 7 * time.Millisecond),
				check: time.Millisecond, sync: time.Millisecond,
			})
		}
		for i := range 6 {
			devices = append(devices, &instrument{
				name: fmt.Sprint("polled-", i), every: dayEvery, takes: 50 * time.Millisecond, rate: 0.2, limit: 1 << 30, begin: time.Now(), frozen: frozen && i < 2,
			})
		}
		sinks := []*receiver{{name: "emr", timed: true}, {name: "one", frozen: frozen}, {name: "two", frozen: frozen}}
		cfg := virtualConfig(dir, devices, sinks)
		cfg.Workers.Size = 2
		for i := range cfg.Devices {
			cfg.Devices[i].Schedule.Timeout = dayTimeout
		}
		for i := range cfg.Sinks {
			cfg.Sinks[i].Timeout = 20 * time.Second
		}
		c := openClinic(t, cfg, devices, sinks)
		defer c.stop()
		time.Sleep(dayLength())
		var answers []time.Duration
		for _, in := range devices[:10] {
			in.note(func() { answers = append(answers, in.answers...) })
		}
		for _, in := range devices[12:] {
			in.note(func() {
				for n, at := range in.polls[1:] {
					day.late = max(day.late, at.Sub(in.polls[n])-dayEvery)
				}
				if len(in.polls) < 3 {
					t.Errorf("%s was polled %d times in the whole day", in.name, len(in.polls))
				}
			})
		}
		sinks[0].note(func() { day.ways = p99(sinks[0].ways) })
		day.answers = p99(answers)
		if frozen && (c.downs.of("polled-0") == 0 || c.downs.of("polled-1") == 0 || c.downs.of("one") == 0) {
			t.Errorf("nobody has ended what is frozen: %s", &c.downs)
		}
		t.Logf("frozen %t: p99 of %d acknowledgements %s, of %d deliveries %s; other polls at most %s late; sessions ended: %s",
			frozen, len(answers), day.answers, sinks[0].count(), day.ways, day.late, &c.downs)
	})
	return day
}

func p99(times []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(times))
	return s[len(s)*99/100]
}

// On two workers, two sinks and two polled devices that are frozen cost the others little: p99 of acknowledgements and of
// deliveries at most doubles, and another polled device waits no longer than for the timeouts of the two.
func TestFrozenPluginsOnTwoWorkers(t *testing.T) {
	well := clinicOnTwoWorkers(t, t.TempDir(), false)
	ill := clinicOnTwoWorkers(t, t.TempDir(), true)
	if ill.answers > 2*well.answers {
		t.Errorf("p99 of acknowledgements is %s, and %s without what is frozen", ill.answers, well.answers)
	}
	if ill.ways > 2*well.ways {
		t.Errorf("p99 of deliveries is %s, and %s without what is frozen", ill.ways, well.ways)
	}
	if most := 2*dayTimeout + well.late; ill.late > most {
		t.Errorf("another polled device was read %s after its time, at most %s", ill.late, most)
	}
}

// A polled device that gives its records after its time, and ends in the grace behind it, loses nothing and is not ended; another
// one is read in the meantime, since its worker is free.
func TestLatePolls(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow := &instrument{name: "slow", every: 10 * time.Second, takes: dayTimeout + time.Second, rate: 2, limit: 60, begin: time.Now()}
		quick := &instrument{name: "quick", every: 10 * time.Second, takes: time.Millisecond, rate: 2, limit: 60, begin: time.Now()}
		devices, emr := []*instrument{slow, quick}, &receiver{name: "emr"}
		cfg := virtualConfig(dir, devices, []*receiver{emr})
		cfg.Workers.Size = 2
		for i := range cfg.Devices {
			cfg.Devices[i].Schedule.Timeout = dayTimeout
		}
		c := openClinic(t, cfg, devices, []*receiver{emr})
		defer c.stop()
		begin := time.Now()
		time.Sleep(time.Minute)
		if late := grid(t, quick, begin, time.Now()); late > dayTimeout {
			t.Errorf("the other device was read %s late", late)
		}
		grid(t, slow, begin, time.Now())
		c.delivered(emr)
		emr.holds(t, devices, 0)
		if slow.safe() != slow.limit || c.downs.String() != "map[]" {
			t.Errorf("%d of %d records came late; sessions ended: %s", slow.safe(), slow.limit, &c.downs)
		}
	})
}

// One worker is enough for group commit: while the disk is busy with one batch, those of 64 devices are checked and wait
// together for the next fsync, and the worker is free.
func TestOneWorkerFillsAGroup(t *testing.T) {
	const count = 64
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var devices []*instrument
		for i := range count {
			devices = append(devices, &instrument{name: fmt.Sprint("listener-", i), rate: 1, batch: 1, limit: 1, begin: time.Now()})
		}
		emr := &receiver{name: "emr"}
		cfg := virtualConfig(dir, devices, []*receiver{emr})
		cfg.Workers.Size = 1
		c := openClinic(t, cfg, devices, []*receiver{emr})
		defer c.stop()
		busy, free := make(chan struct{}), make(chan struct{})
		// The one who writes the groups tells who waits for one: held there, it writes no other.
		err := c.h.spool.Append(t.Context(), spool.Batch{Device: "held"}, func(error) { close(busy); <-free })
		if err != nil {
			t.Fatal(err)
		}
		<-busy
		time.Sleep(3 * time.Second)
		synctest.Wait()
		waiting := 0
		for _, in := range devices {
			if waits, _ := in.busy(); waits && in.safe() == 0 {
				waiting++
			}
		}
		if w := c.h.workers.Stats(); waiting != count || w.Busy+w.Queued != 0 || w.Done[1] != count {
			t.Errorf("%d of %d devices wait for the disk; workers %+v", waiting, count, w)
		}
		close(free)
		c.delivered(emr)
		time.Sleep(time.Second)
		emr.holds(t, devices, 0)
		if emr.count() != count {
			t.Errorf("%d records of %d", emr.count(), count)
		}
	})
}
