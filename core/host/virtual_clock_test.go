package host

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // zones are the same on every computer

	"github.com/hostd/hostd/config"
)

// shift is a run of the host between two steps of the clock. Every bubble begins at the same moment, so one after the other
// is a host that starts again after its clock was put back, and at is what it was put forward by.
type shift struct {
	at      time.Duration // after the beginning of the bubble
	runs    time.Duration
	emrDown bool // to the end of it: what waits is delivered under another time
}

// year2000 is when every bubble begins.
var year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// work runs the host for a shift, in which the instruments make records, and then look.
func (s shift) work(t *testing.T, cfg *config.Config, devices []*instrument, sinks []*receiver, look func(c *clinic)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(s.at)
		for _, in := range devices {
			in.begin, in.from = time.Now(), in.safe()
			in.limit = in.from + int(in.rate*s.runs.Seconds())
		}
		sinks[0].set(nil)
		if s.emrDown {
			sinks[0].set(errAway)
		}
		c := openClinic(t, cfg, devices, sinks)
		defer c.stop()
		time.Sleep(s.runs + time.Minute)
		c.delivered(sinks[1])
		if look != nil {
			look(c)
		}
	})
}

// stored gives the records of the log as they lie there.
func stored(t *testing.T, cfg *config.Config) (list []Record) {
	t.Helper()
	i, err := inspect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for ref, err := range i.Records() {
		if err != nil {
			t.Fatal(err)
		}
		r, err := recordOf(ref, false)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func numbersOf[T any](list []T, seq func(*T) uint64) (out []uint64) {
	for i := range list {
		out = append(out, seq(&list[i]))
	}
	return out
}

// The clock is put by an hour, a day and a month to and fro between runs, with records that wait. The order of everything is
// that of the record's number, whatever its time says: in the log, at the sinks, in a search. A search and a replay by time
// have what was received in it, in whichever run that was.
func TestClockIsPut(t *testing.T) {
	const month, day = 30 * 24 * time.Hour, 24 * time.Hour
	devices := []*instrument{{name: "ark-1", rate: 10, batch: 100}, {name: "share", rate: 2, every: 20 * time.Second}}
	emr, archive := &receiver{name: "emr"}, &receiver{name: "archive"}
	sinks := []*receiver{emr, archive}
	cfg := virtualConfig(t.TempDir(), devices, sinks)
	cfg.Spool.SegmentSizeMB, cfg.Spool.Keep = 1, 10*365*day
	const runs = 6 * time.Minute
	shifts := []shift{
		{at: 3 * day, runs: runs},
		{at: 3*day - time.Hour, runs: runs, emrDown: true},
		{at: 3 * day, runs: runs, emrDown: true},
		{at: 2 * day, runs: runs},
		{at: 3*day + runs/2, runs: runs, emrDown: true},
		{at: month, runs: runs},
		{at: 0, runs: runs, emrDown: true},
		{at: 3*day - runs/2, runs: runs},
	}
	for _, s := range shifts {
		s.work(t, cfg, devices, sinks, nil)
		archive.holds(t, devices, 0)
	}
	emr.holds(t, devices, 0)

	all := stored(t, cfg)
	seqs := numbersOf(all, func(r *Record) uint64 { return r.Seq })
	back, next := 0, map[string]int{}
	for i := range all {
		r := &all[i]
		if next[r.Device]++; r.ID != fmt.Sprint(next[r.Device]) {
			t.Fatalf("record %s of %s lies in the place of %d", r.ID, r.Device, next[r.Device])
		}
		if i > 0 && r.Seq <= all[i-1].Seq {
			t.Fatalf("seq %d follows %d", r.Seq, all[i-1].Seq)
		}
		if i > 0 && r.Received.Before(all[i-1].Received) {
			back++
		}
	}
	if back != 3 || len(all) != archive.count() {
		t.Fatalf("%d records are in the log of %d, and time goes back %d times: the test does not prove what it should", len(all), archive.count(), back)
	}
	found := search(t, cfg, Lookup{})
	slices.Reverse(seqs)
	if !slices.Equal(numbersOf(found, func(f *Found) uint64 { return f.Seq }), seqs) {
		t.Errorf("a search for everything gives %d records of %d, or not the newest first", len(found), len(seqs))
	}
	windows := [][2]time.Duration{{3 * day, 3*day + runs}, {3*day - 2*time.Hour, 3 * day}, {0, day}, {2 * day, 4 * day}, {4 * day, 2 * month}, {3*day + time.Minute, 3*day + 2*time.Minute}}
	for _, w := range windows {
		from, to := year2000.Add(w[0]), year2000.Add(w[1])
		got := numbersOf(search(t, cfg, Lookup{From: from, To: to, Device: "ark-1"}), func(f *Found) uint64 { return f.Seq })
		var want []uint64
		for i := len(all) - 1; i >= 0; i-- {
			if r := &all[i]; r.Device == "ark-1" && !r.Received.Before(from) && r.Received.Before(to) {
				want = append(want, r.Seq)
			}
		}
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s to %s: found %d records, want %d, the newest first", from, to, len(got), len(want))
		}
	}
	replayByTime(t, cfg, devices, sinks, all, year2000.Add(windows[0][0]), year2000.Add(windows[0][1]))
	t.Logf("%d records, time goes back %d times among them; segments: %d", len(all), back, len(segments(t, cfg)))
}

func search(t *testing.T, cfg *config.Config, q Lookup) []Found {
	t.Helper()
	list, err := Find(t.Context(), cfg, q)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// replayByTime gives archive what was received between two moments once more: that, and nothing else, in order.
func replayByTime(t *testing.T, cfg *config.Config, devices []*instrument, sinks []*receiver, all []Record, from, to time.Time) {
	t.Helper()
	want := 0
	for i := range all {
		if r := &all[i]; !r.Received.Before(from) && r.Received.Before(to) {
			want++
		}
	}
	archive := sinks[1]
	before := archive.doubles()
	shift{at: time.Hour}.work(t, cfg, devices, sinks, func(c *clinic) {
		n, err := c.h.replay(c.t.Context(), ReplayArgs{By: "kim", Sink: archive.name, From: from, To: to})
		if err != nil || n.Records != want {
			t.Errorf("replay of %s to %s: %d records, %v; want %d", from, to, n.Records, err, want)
		}
		time.Sleep(time.Minute)
	})
	if got := archive.doubles() - before; got != want {
		t.Errorf("%s got %d records once more, want %d", archive.name, got, want)
	}
	archive.holds(t, devices, archive.doubles())
}

// segments names the files of the log.
func segments(t *testing.T, cfg *config.Config) (names []string) {
	t.Helper()
	files, err := VerifySpool(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

// Retention goes by age, and the clock can lie. A segment from the future is kept until its time is over, or until keep_size_mb
// is; one that waits for a sink is kept whatever the clock says, also a year after everybody's time.
func TestRetentionWhenTheClockIsPut(t *testing.T) {
	const day = 24 * time.Hour
	devices := []*instrument{{name: "oct-1", rate: 1000, batch: 256}}
	emr, archive := &receiver{name: "emr"}, &receiver{name: "archive"}
	sinks := []*receiver{emr, archive}
	cfg := virtualConfig(t.TempDir(), devices, sinks)
	cfg.Spool.SegmentSizeMB, cfg.Spool.Keep = 1, day
	const makes = 30 * time.Second // 30,000 records, three segments
	var from []string
	kept := func(what string, files []string, all bool) {
		t.Helper()
		now := segments(t, cfg)
		for _, f := range files {
			if slices.Contains(now, f) != all {
				t.Errorf("%s: %s is in the log: %v", what, f, !all)
			}
		}
	}
	shift{at: 30 * day, runs: makes}.work(t, cfg, devices, sinks, nil)
	future := segments(t, cfg)
	from = future[:len(future)-1]
	shift{at: day, runs: makes}.work(t, cfg, devices, sinks, nil)
	shift{at: 4 * day, runs: makes}.work(t, cfg, devices, sinks, nil)
	kept("written a month ahead, and days later", from, true)

	small := *cfg
	small.Spool.KeepSizeMB = 3
	cfg = &small
	shift{at: 5 * day, runs: makes}.work(t, cfg, devices, sinks, nil)
	kept("written a month ahead, and no room for it", from, false)

	cfg.Spool.KeepSizeMB = 1000
	shift{at: 6 * day, runs: makes, emrDown: true}.work(t, cfg, devices, sinks, nil)
	waiting := segments(t, cfg)
	from = waiting[len(waiting)-3:]
	had := emr.count()
	shift{at: 400 * day, runs: makes, emrDown: true}.work(t, cfg, devices, sinks, func(c *clinic) {
		if n := c.sinkStats("emr").Backlog; int(n) != archive.count()-had {
			t.Errorf("a year later %d records wait, want %d", n, archive.count()-had)
		}
	})
	kept("waiting for emr, a year later", from, true)
	shift{at: 2 * day, runs: makes}.work(t, cfg, devices, sinks, nil)
	kept("delivered at last, by a clock that was put back", from, true) // they are of the sixth day, which is to come
	shift{at: 8 * day, runs: makes}.work(t, cfg, devices, sinks, nil)
	kept("delivered and old", from[:2], false)
	kept("delivered and old, in front of one from the future", from[2:], true)
	for _, s := range sinks {
		s.holds(t, devices, 0)
	}
}

// Where the clocks of a country change, nothing does: records keep their order and come once, a poll comes at its interval and
// never twice or an hour late, and the two hours of the same name are told apart. Each zone has a process of its own: it is set
// for all of one, and what other tests have left behind, such as the goroutine of a log file, reads it.
func TestDaylightSaving(t *testing.T) {
	for _, c := range []struct {
		zone   string
		change time.Time // in this zone, or in none
		hours  float64   // by which the local clock is put
	}{
		{"Europe/Berlin", time.Date(2000, 3, 26, 1, 0, 0, 0, time.UTC), 1},
		{"Europe/Berlin", time.Date(2000, 10, 29, 1, 0, 0, 0, time.UTC), -1},
		{"America/New_York", time.Date(2000, 10, 29, 6, 0, 0, 0, time.UTC), -1},
		{"Australia/Lord_Howe", time.Date(2000, 8, 26, 15, 30, 0, 0, time.UTC), 0.5},
		{"Asia/Seoul", time.Date(2000, 10, 29, 1, 0, 0, 0, time.UTC), 0},
	} {
		name := fmt.Sprintf("%s_%+.1f", strings.ReplaceAll(c.zone, "/", "_"), c.hours)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Getenv(alone) == "" {
				inOwnProcess(t, "^TestDaylightSaving$/^"+regexp.QuoteMeta(name)+"$")
				return
			}
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			time.Local = zone
			_, before := c.change.Add(-time.Second).In(zone).Zone()
			_, after := c.change.In(zone).Zone()
			if float64(after-before)/3600 != c.hours {
				t.Fatalf("the clocks of %s change by %d s at %s", c.zone, after-before, c.change)
			}
			overTheChange(t, c.change)
		})
	}
}

// alone is set in the environment of a process of inOwnProcess.
const alone = "HOSTD_TEST_ALONE"

// inOwnProcess runs the one test of the pattern in a process of its own.
func inOwnProcess(t *testing.T, pattern string) {
	t.Helper()
	cpus := strconv.Itoa(runtime.GOMAXPROCS(0)) // as -test.cpu says
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", pattern, "-test.v", "-test.cpu", cpus)
	cmd.Env = append(os.Environ(), alone+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS: ") != 1+strings.Count(pattern, "/") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// overTheChange runs a host from more than an hour before the moment to half an hour behind it.
func overTheChange(t *testing.T, change time.Time) {
	t.Helper()
	devices := []*instrument{{name: "ark-1", rate: 1, batch: 30, dates: true}, {name: "share", rate: 0.5, every: 30 * time.Second, dates: true}}
	sinks := []*receiver{{name: "emr"}, {name: "archive"}}
	cfg := virtualConfig(t.TempDir(), devices, sinks)
	start, end := change.Add(-65*time.Minute), change.Add(25*time.Minute)
	shift{at: start.Sub(year2000), runs: end.Sub(start)}.work(t, cfg, devices, sinks, func(c *clinic) {
		for at := start.Add(time.Minute); at.Before(end); at = at.Add(time.Minute) {
			if n := devices[1].polled(at, at.Add(time.Minute)); n != 2 {
				t.Errorf("%d polls in the minute from %s on, want 2", n, at.Local())
			}
		}
		if n := c.h.workers.Stats().Overruns; n > 0 || len(c.alarms()) > 0 || c.log.messages.sum() > 0 {
			t.Errorf("%d polls were overrun; alarms %+v; log %s", n, c.alarms(), c.log)
		}
	})
	for _, s := range sinks {
		s.holds(t, devices, 0)
	}
	for _, from := range []time.Time{change.Add(-time.Hour), change} {
		to := from.Add(20 * time.Minute)
		found := search(t, cfg, Lookup{Device: "ark-1", From: from.Local(), To: to.Local()})
		if len(found) != 1200 {
			t.Errorf("%d records found from %s on, want 1200", len(found), from.Local())
		}
		for i := range found {
			if r := &found[i]; r.Received.Before(from) || !r.Received.Before(to) {
				t.Fatalf("record %d of %s is found between %s and %s", r.Seq, r.Received, from, to)
			}
		}
	}
	all := stored(t, cfg)
	for i := 1; i < len(all); i++ {
		if gap := all[i].Received.Sub(all[i-1].Received); gap < 0 || gap > 31*time.Second {
			t.Fatalf("%s lies between records %d and %d", gap, all[i-1].Seq, all[i].Seq)
		}
	}
}
