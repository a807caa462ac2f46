package host

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
)

func TestSilent(t *testing.T) {
	day := func(hour, minute int) time.Time { return time.Date(2026, 11, 27, hour, minute, 0, 0, time.UTC) }
	yesterday := day(-7, 0)
	office, always := config.Expect{Every: 90 * time.Minute, During: "09:00-18:30"}, config.Expect{Every: 24 * time.Hour}
	for name, c := range map[string]struct {
		expect               config.Expect
		newest, started, now time.Time
		silent               bool
	}{
		"it has sent":                    {office, day(11, 0), day(8, 0), day(12, 30), false},
		"it has not":                     {office, day(11, 0), day(8, 0), day(12, 31), true},
		"the day has just begun":         {office, yesterday, yesterday, day(10, 30), false},
		"the morning has passed":         {office, yesterday, yesterday, day(10, 31), true},
		"it is evening":                  {office, day(11, 0), day(8, 0), day(18, 30), false},
		"it has never sent":              {office, time.Time{}, day(9, 30), day(11, 1), true},
		"it has never sent, and just so": {office, time.Time{}, day(9, 30), day(11, 0), false},
		"the machine was off":            {always, yesterday.Add(-48 * time.Hour), day(8, 0), day(9, 0), false},
		"and has been on for an hour":    {always, yesterday.Add(-48 * time.Hour), day(8, 0), day(9, 1), true},
		"the clock was put back":         {office, day(17, 0), day(8, 0), day(12, 0), false},
	} {
		s, err := newSilence(&c.expect, c.started)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := s.look(c.newest, c.now, false); got != c.silent {
			t.Errorf("%s: silent is %t", name, got)
		}
	}
}

// TestSilentDeviceIsAnAlarm has a device that sends every 20 minutes where a record is expected every 5, and one that sends
// as it should. The alarm comes and goes by itself, and both are in the log.
func TestSilentDeviceIsAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &instrument{name: "slow", rate: 1.0 / 1200, batch: 1, begin: time.Now(), limit: 100}
		busy := &instrument{name: "busy", rate: 1, batch: 1, begin: time.Now(), limit: 100_000}
		instruments, receivers := []*instrument{slow, busy}, []*receiver{{name: "emr"}}
		cfg := virtualConfig(t.TempDir(), instruments, receivers)
		for i := range cfg.Devices {
			cfg.Devices[i].Expect.Every = 5 * time.Minute
		}
		c := openClinic(t, cfg, instruments, receivers)
		defer c.stop()
		silent := func() (list []admin.Alarm) {
			for _, a := range c.h.Status().Alarms {
				if a.Code == alarmSilent {
					list = append(list, a)
				}
			}
			return list
		}
		start := time.Now()
		for _, step := range []struct {
			at     time.Duration
			stands bool
		}{{4 * time.Minute, false}, {6 * time.Minute, true}, {19 * time.Minute, true}, {21 * time.Minute, false}, {24 * time.Minute, false}, {26 * time.Minute, true}} {
			time.Sleep(step.at - time.Since(start))
			list := silent()
			if (len(list) == 1 && list[0].Subject == "slow") != step.stands || len(list) > 1 {
				t.Fatalf("after %s: %+v", step.at, list)
			}
			if step.stands && !strings.Contains(list[0].Text, "within 5m") {
				t.Errorf("the alarm says %q", list[0].Text)
			}
		}
		c.h.now().devices[0].gate.set(true) // nobody expects a record of one that is paused, and none could come before its end
		time.Sleep(10 * time.Minute)
		if list := silent(); len(list) != 0 {
			t.Errorf("while it is paused: %+v", list)
		}
		c.h.now().devices[0].gate.set(false)
		time.Sleep(3 * time.Minute)
		if list := silent(); len(list) != 0 {
			t.Errorf("just after its pause: %+v", list)
		}
	})
}
