package schedule_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/schedule"
)

// hourly is a rule: at each full hour.
type hourly struct{}

func (hourly) Next(t time.Time) time.Time { return t.Truncate(time.Hour).Add(time.Hour) }

// never is a rule without times.
type never struct{}

func (never) Next(time.Time) time.Time { return time.Time{} }

// office is a window: from 9 to 17 o'clock.
type office struct{}

func (office) Contains(t time.Time) bool { return t.Hour() >= 9 && t.Hour() < 17 }
func (o office) Opens(t time.Time) time.Time {
	for !o.Contains(t) {
		t = t.Truncate(time.Hour).Add(time.Hour)
	}
	return t
}

// follow waits as a device does, and gives when it was read since start; each poll takes what took says.
func follow(p *schedule.Plan, start time.Time, polls int, took func(n int) time.Duration) (at []time.Duration, overruns int) {
	for len(at) < polls {
		for !p.Due(time.Now()) {
			time.Sleep(p.Wait(time.Now()))
		}
		begun := time.Now()
		at = append(at, begun.Sub(start))
		time.Sleep(took(len(at) - 1))
		overruns += p.Done(begun, time.Now())
	}
	return at, overruns
}

func quick(int) time.Duration { return 10 * time.Millisecond }

func TestPlan(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	late := func(n int) time.Duration { // the second poll takes longer than two steps
		if n == 1 {
			return 25 * s
		}
		return s
	}
	for name, c := range map[string]struct {
		times    schedule.Times
		took     func(int) time.Duration
		at       []time.Duration // since midnight, at which synctest begins
		overruns int
	}{
		"every":                       {schedule.Times{Every: 10 * s}, quick, []time.Duration{0, 10 * s, 20 * s}, 0},
		"every with an offset":        {schedule.Times{Every: 10 * s, Offset: 3 * s}, quick, []time.Duration{3 * s, 13 * s, 23 * s}, 0},
		"a slow poll leaves out two":  {schedule.Times{Every: 10 * s}, late, []time.Duration{0, 10 * s, 40 * s, 50 * s}, 2},
		"a poll that ends at a time":  {schedule.Times{Every: 10 * s}, func(int) time.Duration { return 10 * s }, []time.Duration{0, 20 * s, 40 * s}, 3},
		"a rule":                      {schedule.Times{Cron: hourly{}}, quick, []time.Duration{h, 2 * h, 3 * h}, 0},
		"a rule with an offset":       {schedule.Times{Cron: hourly{}, Offset: 5 * m}, quick, []time.Duration{5 * m, h + 5*m, 2*h + 5*m}, 0},
		"a rule with a slow poll":     {schedule.Times{Cron: hourly{}}, func(int) time.Duration { return 90 * m }, []time.Duration{h, 3 * h, 5 * h}, 3},
		"every in a window":           {schedule.Times{Every: 7 * h, Window: office{}}, quick, []time.Duration{9 * h, 14 * h, 33 * h, 35*h + 0, 57 * h}, 0},
		"a rule in a window":          {schedule.Times{Cron: hourly{}, Window: office{}}, quick, []time.Duration{9 * h, 10 * h, 11 * h, 12 * h, 13 * h, 14 * h, 15 * h, 16 * h, 33 * h}, 0},
		"every, whose window is shut": {schedule.Times{Every: 10 * s, Window: office{}}, quick, []time.Duration{9 * h, 9*h + 10*s}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				at, overruns := follow(schedule.NewPlan(c.times, start), start, len(c.at), c.took)
				for i := range at {
					if at[i] != c.at[i] {
						t.Fatalf("read at %v, not %v", at, c.at)
					}
				}
				if overruns != c.overruns {
					t.Errorf("%d overruns, not %d", overruns, c.overruns)
				}
			})
		})
	}
}

func TestPlanJitterMovesNoOtherTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		at, overruns := follow(schedule.NewPlan(schedule.Times{Every: 10 * time.Second, Jitter: 4 * time.Second}, start), start, 200, quick)
		moved := 0
		for i, d := range at {
			late := d - time.Duration(i)*10*time.Second
			if late < 0 || late >= 4*time.Second {
				t.Fatalf("poll %d is %s from its time", i, late)
			}
			if late > time.Second {
				moved++
			}
		}
		if moved < 50 || overruns != 0 {
			t.Errorf("%d of %d polls moved by more than a second, %d overruns", moved, len(at), overruns)
		}
	})
}

// A device that asks to be read between two times does not move them.
func TestPlanOfADeviceThatAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := schedule.NewPlan(schedule.Times{Every: 10 * time.Second, Window: office{}}, start.Add(10*time.Hour))
		now := start.Add(10 * time.Hour)
		if !p.Due(now) || p.Done(now, now.Add(time.Second)) != 0 {
			t.Error("the first time is not now")
		}
		if asked := now.Add(5 * time.Second); !p.Open(asked) || p.Done(asked, asked.Add(time.Second)) != 0 || p.Due(asked.Add(2*time.Second)) {
			t.Error("a poll that the device asked for is not one more")
		}
		if !p.Due(now.Add(10 * time.Second)) {
			t.Error("the second time has moved")
		}
		if asked := now.Add(9 * time.Second); p.Done(asked, asked.Add(3*time.Second)) != 1 || p.Due(now.Add(19*time.Second)) || !p.Due(now.Add(20*time.Second)) {
			t.Error("a time that passed while a poll ran is not left out and counted")
		}
		if p.Open(start.Add(8 * time.Hour)) {
			t.Error("it may be read while the window is shut")
		}
	})
}

// A machine that slept reads once for all that it missed, and a clock that was put is followed.
func TestPlanMeetsAnotherClock(t *testing.T) {
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) // without a monotonic reading, as after a look at another clock
	p := schedule.NewPlan(schedule.Times{Cron: hourly{}}, noon)
	woke := noon.Add(8*time.Hour + 20*time.Minute)
	if !p.Due(woke) || p.Done(woke, woke.Add(time.Minute)) != 0 || p.Due(woke.Add(2*time.Minute)) {
		t.Error("what was missed is not read once")
	}
	back := woke.Add(-24 * time.Hour)
	if p.Due(back) || p.Wait(back) > 40*time.Minute || p.Due(back.Add(39*time.Minute)) || !p.Due(back.Add(40*time.Minute)) {
		t.Error("after the clock was put back a day the next hour is not a time")
	}
	if none := schedule.NewPlan(schedule.Times{Cron: never{}}, noon); none.Due(noon.Add(1000*time.Hour)) || none.Wait(noon) <= 0 {
		t.Error("a rule without times has one")
	}
}

// TestPlanKeepsItsGrid has polls of random lengths: each begins at a step, and each step is a poll or an overrun.
func TestPlanKeepsItsGrid(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			start, every := time.Now(), time.Duration(1+random.IntN(100))*time.Second
			took := func(int) time.Duration { return time.Duration(random.Int64N(int64(3 * every))) }
			at, overruns := follow(schedule.NewPlan(schedule.Times{Every: every}, start), start, 40, took)
			last := at[len(at)-1]
			passed := int(last/every) + 1 // of them some were left out, and up to 3 more while the last poll ran
			if missed := passed - len(at); last%every != 0 || overruns < missed || overruns > missed+3 {
				t.Errorf("every %s: polls at %v, %d overruns", every, at, overruns)
			}
		}
	})
}
