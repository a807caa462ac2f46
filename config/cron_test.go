package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/config"
)

func TestCron(t *testing.T) {
	for _, c := range []struct{ rule, after, next string }{
		{"*/15 8-18 * * 1-5", "Fri 2026-11-27 18:45:00", "Mon 2026-11-30 08:00:00"},
		{"0 6 * * *", "Sun 2026-11-29 06:00:00", "Mon 2026-11-30 06:00:00"},
		{" 30  5  1 *  * ", "Sun 2026-11-29 06:00:00", "Tue 2026-12-01 05:30:00"},
		{"@daily", "Sun 2026-11-29 06:00:00", "Mon 2026-11-30 00:00:00"},
		{"30 2 * * *", "Sat 2026-03-28 12:00:00", "Mon 2026-03-30 02:30:00"}, // there is no half past two on Sunday
		{"*/30 * * * *", "Sun 2026-03-29 01:30:00", "Sun 2026-03-29 03:00:00"},
	} {
		rule, err := config.ParseCron(c.rule)
		if err != nil {
			t.Errorf("%q: %v", c.rule, err)
			continue
		}
		if got, want := rule.Next(at(t, c.after)), at(t, c.next); !got.Equal(want) {
			t.Errorf("%q after %s: %s, not %s", c.rule, c.after, got, want)
		}
	}
	// The hour that comes twice has no gap.
	rule, err := config.ParseCron("*/30 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	when := at(t, "Sun 2026-10-25 01:30:00")
	for range 4 {
		next := rule.Next(when)
		if next.Sub(when) != 30*time.Minute {
			t.Errorf("after %s comes %s", when, next)
		}
		when = next
	}
}

func TestCronsThatAreNone(t *testing.T) {
	for text, says := range map[string]string{
		"* * * *":     "5 fields",
		"0 * * * * *": "5 fields",
		"hourly":      "5 fields",
		"@never":      "no rule of cron",
		"61 * * * *":  "no rule of cron",
		"0 3 31 2 *":  "never comes to pass",
	} {
		if _, err := config.ParseCron(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if c, err := config.ParseCron(" "); err != nil || !c.IsZero() || !c.Next(time.Now()).IsZero() {
		t.Errorf("no rule: %v %v", c, err)
	}
}

func FuzzCron(f *testing.F) {
	f.Add("*/15 8-18 * * 1-5", int64(1795942800))
	f.Add("0 0 L * 5#3", int64(0))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		c, err := config.ParseCron(text)
		if err != nil || c.IsZero() {
			return
		}
		when := time.Unix(unix%(1<<33), 0).UTC()
		if next := c.Next(when); !next.IsZero() && !next.After(when) {
			t.Errorf("%q after %s: %s", text, when, next)
		}
	})
}
