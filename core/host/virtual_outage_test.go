package host

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

var outage = flag.Duration("outage", time.Hour, "of TestSinkDown and TestSinkDownToTheCap: how long the sink is down, in virtual time")

const (
	arrival    = 100     // records per second, of all instruments together
	drainTimes = 5       // how much faster than arrival a backlog must be delivered
	heapGrowth = 4 << 20 // bytes by which the memory may differ between the beginning of an outage and its end
)

var errAway = sdk.WithClass(sdk.ClassUnavailable, errors.New("no connection to the database"))

// downFor is how long the sink is down: a taste of it under the race detector, which runs the short tests.
func downFor() time.Duration {
	if testing.Short() {
		return min(*outage, 20*time.Minute)
	}
	return *outage
}

// clock gives the time outside of the bubble it is called in.
func clock(t *testing.T) func() time.Time {
	now, end := make(chan time.Time), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		for {
			select {
			case now <- time.Now():
			case <-end:
				return
			}
		}
	}()
	return func() time.Time { <-now; return <-now } // the first one was made when nobody asked
}

// heap is what is in use after a collection, the median of five looks a minute apart.
func heap() int {
	var looks []int
	for range 5 {
		time.Sleep(time.Minute)
		runtime.GC()
		runtime.GC() // pools give their memory back at the second one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		looks = append(looks, int(m.HeapAlloc))
	}
	slices.Sort(looks)
	return looks[len(looks)/2]
}

// ward is four instruments that make records for that time. All send in the same moment, so that one fsync takes several
// batches and the test is worth its time.
func ward(makes time.Duration) (list []*instrument) {
	for _, name := range []string{"ark-1", "ark-2", "ntx-1", "oct-1"} {
		list = append(list, &instrument{
			name: name, rate: arrival / 4, batch: sdk.MaxBatch, limit: int(makes.Seconds()) * arrival / 4, begin: time.Now(),
		})
	}
	return list
}

func all(list []*instrument) (n int) {
	for _, in := range list {
		n += in.limit
	}
	return n
}

// A sink is down at 100 records a second, for a day in the long form (-outage 24h): each write is an error of the whole batch. Nothing is lost, doubled or
// reordered, the other sink does not notice, the memory stays as it was, and the backlog is delivered at least 5 times
// faster than it came in.
//
// Virtual time stands still while anything works, so a drain takes none of it but for the pause before the next try: it is
// measured in real time, against the rate of arrival in virtual time, which is that of a real clinic. What is measured is all
// that the host does for a delivery (disk, checksums, the wire and its codec, cursors) and a sink that only compares.
func TestSinkDown(t *testing.T) {
	down, dir, real := downFor(), t.TempDir(), clock(t)
	synctest.Test(t, func(t *testing.T) {
		devices, emr, archive := ward(down+10*time.Minute), &receiver{name: "emr"}, &receiver{name: "archive"}
		sinks := []*receiver{emr, archive}
		cfg := virtualConfig(dir, devices, sinks)
		cfg.Spool.SegmentSizeMB = 16
		c := openClinic(t, cfg, devices, sinks)
		defer c.stop()
		time.Sleep(time.Minute)
		began := real()
		emr.set(errAway)
		had := emr.count()
		time.Sleep(down / 24)
		first := heap()
		time.Sleep(down - down/24 - 10*time.Minute)
		last := heap()
		c.delivered(archive)
		archive.holds(t, devices, 0)
		k := c.sinkStats("emr")
		outageTook := real().Sub(began)
		if n := emr.count(); n != had || int(k.Backlog) != archive.count()-had || k.Dead != 0 {
			t.Errorf("in the outage emr got %d records, %d wait and %d are dead of %d", n-had, k.Backlog, k.Dead, archive.count()-had)
		}
		if last-first > heapGrowth {
			t.Errorf("heap grew from %d to %d KiB in the outage", first>>10, last>>10)
		}

		began, back := real(), time.Now()
		emr.set(nil)
		c.until("the backlog is delivered", time.Minute, time.Second, func() bool { return c.sinkStats("emr").Backlog == 0 })
		took := real().Sub(began)
		rate := float64(k.Backlog) / took.Seconds()
		if rate < drainTimes*arrival {
			t.Errorf("%d records drained in %s: %.0f a second, want %d", k.Backlog, took, rate, drainTimes*arrival)
		}
		t.Logf("%s down: %d records waited, the outage took %s; drained in %s, %.0f records a second (in virtual time %s with the last pause); heap %d KiB, then %d KiB; %d tries, %d warnings",
			down, k.Backlog, outageTook.Round(time.Millisecond), took.Round(time.Millisecond), rate, time.Since(back), first>>10, last>>10, emr.failures(), c.log.messages.sum())

		time.Sleep(time.Hour)
		c.delivered(sinks...)
		for _, s := range sinks {
			s.holds(t, devices, 0)
		}
		if emr.count() != all(devices) || archive.count() != all(devices) {
			t.Errorf("emr has %d records and archive %d of %d that were made", emr.count(), archive.count(), all(devices))
		}
		if st := c.h.spool.Stats(); st.Segments > 3 || st.Quarantined+st.Torn > 0 {
			t.Errorf("the spool keeps what is delivered: %d segments of %d bytes, %d damaged", st.Segments, st.Bytes, st.Quarantined+st.Torn)
		}
		if c.downs.String() != "map[]" || c.refused.String() != "map[]" {
			t.Errorf("sessions ended: %s; batches refused: %s", &c.downs, &c.refused)
		}
	})
}

// filling is one text of the alarm spool_filling, and since when it was seen.
type filling struct {
	text string
	at   time.Duration
}

// The same with a cap that is reached half way: the instruments are told that nothing more is taken and keep their records,
// the other sink has all that was acknowledged, the alarm names the sink that holds the spool, and intake goes on by itself
// when that sink is back.
func TestSinkDownToTheCap(t *testing.T) {
	down, dir := downFor(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		devices, emr, archive := ward(down+10*time.Minute), &receiver{name: "emr"}, &receiver{name: "archive"}
		sinks := []*receiver{emr, archive}
		cfg := virtualConfig(dir, devices, sinks)
		const onDisk = 112 // bytes of a record with its frame, about
		cfg.Spool.MaxSizeMB = int(down.Seconds()/2) * arrival * onDisk >> 20
		cfg.Spool.SegmentSizeMB = max(min(cfg.Spool.MaxSizeMB/8, 16), 1)
		c := openClinic(t, cfg, devices, sinks)
		defer c.stop()
		begin := time.Now()
		emr.set(errAway)
		archive.note(func() { archive.slow = time.Second }) // now and then something waits for it, too
		var alarms []filling
		var reached time.Duration
		for time.Since(begin) < down {
			time.Sleep(10 * time.Second)
			alarms = append(alarms, c.newFilling(alarms, time.Since(begin))...)
			if reached == 0 && c.refused.of("cap") > 0 {
				reached = time.Since(begin)
			}
		}
		if reached < down*4/10 || reached > down*6/10 {
			t.Errorf("the first batch was refused after %s of %s", reached, down)
		}
		refused := c.refused.of("cap")
		if c.refused.String() != fmt.Sprintf("map[cap:%d]", refused) {
			t.Errorf("batches refused: %s", &c.refused)
		}
		if n := c.log.messages.of("batch refused"); n != len(devices) {
			t.Errorf("%d refusals of %d devices are %d lines of the log", refused, len(devices), n)
		}
		for _, in := range devices {
			if in.negatives() == 0 || in.safe() > in.made()*6/10 {
				t.Errorf("%s was refused %d times, and of %d records %d are taken", in.name, in.negatives(), in.made(), in.safe())
			}
		}
		for _, d := range c.h.Status().Devices {
			if !strings.Contains(d.Error, "at its cap") {
				t.Errorf("the page says of %s: %q", d.Name, d.Error)
			}
		}
		c.delivered(archive)
		archive.holds(t, devices, 0)
		if k := c.sinkStats("emr"); int(k.Backlog) != archive.count() || k.Dead > 0 || emr.count() > 0 {
			t.Errorf("emr got %d records, %d wait and %d are dead; archive has %d", emr.count(), k.Backlog, k.Dead, archive.count())
		}
		checkFilling(t, alarms, reached)

		held := archive.count()
		emr.set(nil)
		c.until("everything is delivered", time.Hour+down/4, time.Second, func() bool { return emr.count() == all(devices) && archive.count() == all(devices) })
		c.delivered(sinks...)
		for _, s := range sinks {
			s.holds(t, devices, 0)
		}
		time.Sleep(time.Minute)
		if list := c.h.Status().Alarms; len(list) > 0 {
			t.Errorf("alarms that stand in the end: %+v", list)
		}
		for _, d := range c.h.Status().Devices {
			if d.Error != "" {
				t.Errorf("in the end the page says of %s: %q", d.Name, d.Error)
			}
		}
		if c.downs.String() != "map[]" {
			t.Errorf("sessions ended: %s", &c.downs)
		}
		t.Logf("cap of %d MiB reached after %s of %s; %d records were taken until then, %d offers refused, all %d delivered in the end; alarms after %v",
			cfg.Spool.MaxSizeMB, reached, down, held, refused, emr.count(), []time.Duration{alarms[0].at, alarms[1].at, alarms[2].at})
	})
}

// newFilling gives the alarm of the filling spool when it is not the one that was seen last, but for its counts.
func (c *clinic) newFilling(seen []filling, at time.Duration) (list []filling) {
	c.t.Helper()
	for _, a := range c.alarms() {
		if a.Code != alarmFilling {
			c.t.Errorf("after %s the alarm %+v", at, a)
			continue
		}
		if !strings.Contains(a.Text, "the sink emr holds it") {
			c.t.Errorf("after %s the alarm %q", at, a.Text)
		}
		mark := a.Text[:strings.Index(a.Text, "%")+1]
		if len(seen) == 0 || !strings.HasPrefix(seen[len(seen)-1].text, mark) {
			list = append(list, filling{a.Text, at})
		}
	}
	return list
}

// checkFilling holds that the alarm came at 50, 80 and 95 %, in time before the cap, and named the sink.
func checkFilling(t *testing.T, alarms []filling, reached time.Duration) {
	t.Helper()
	if len(alarms) != 3 {
		t.Fatalf("%d alarms, want those of 50, 80 and 95 %%: %+v", len(alarms), alarms)
	}
	for i, mark := range []int{50, 80, 95} {
		a := alarms[i]
		if !strings.Contains(a.text, fmt.Sprintf("more than %d %%", mark)) {
			t.Errorf("at %d %% the alarm says %q", mark, a.text)
		}
		if near := reached * time.Duration(mark) / 100; (a.at - near).Abs() > reached/20 {
			t.Errorf("the alarm of %d %% came after %s, the cap after %s", mark, a.at, reached)
		}
	}
}
