package config_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // a machine may have none

	"github.com/hostd/hostd/config"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("Mon 2006-01-02 15:04:05", text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestHours(t *testing.T) {
	for _, c := range []struct {
		hours, when string
		opens       string // empty: it is in them
	}{
		{"", "Sun 2026-11-29 03:00:00", ""},
		{"09:00-18:30", "Sun 2026-11-29 09:00:00", ""},
		{"09:00-18:30", "Sun 2026-11-29 18:29:59", ""},
		{"09:00-18:30", "Sun 2026-11-29 18:30:00", "Mon 2026-11-30 09:00:00"},
		{"9:00 - 18:30", "Sun 2026-11-29 08:59:59", "Sun 2026-11-29 09:00:00"},
		{"mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00", "Fri 2026-11-27 12:30:00", "Fri 2026-11-27 13:00:00"},
		{"mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00", "Sat 2026-11-28 08:30:00", "Sat 2026-11-28 09:00:00"},
		{"mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00", "Sat 2026-11-28 13:00:00", "Mon 2026-11-30 08:00:00"},
		{"Sat-Mon 10:00-11:00", "Mon 2026-11-30 10:30:00", ""},
		{"sat-mon 10:00-11:00", "Tue 2026-12-01 10:30:00", "Sat 2026-12-05 10:00:00"},
		{"wed 10:00-11:00", "Wed 2026-12-02 11:00:00", "Wed 2026-12-09 10:00:00"},
		{"sat 22:00-06:00", "Sun 2026-11-29 05:59:00", ""},
		{"sat 22:00-06:00", "Sat 2026-11-28 05:59:00", "Sat 2026-11-28 22:00:00"},
		{"20:00-24:00", "Sun 2026-11-29 23:59:59", ""},
		{"00:00-24:00", "Sun 2026-11-29 00:00:00", ""},
		// 02:00 to 03:00 is left out on the 29th of March, and comes twice on the 25th of October.
		{"02:30-04:00", "Sun 2026-03-29 01:59:59", "Sun 2026-03-29 03:00:00"},
		{"02:00-02:30", "Sun 2026-03-29 01:59:59", "Mon 2026-03-30 02:00:00"},
		{"02:30-04:00", "Sun 2026-10-25 01:00:00", "Sun 2026-10-25 02:30:00"},
	} {
		h, err := config.ParseHours(c.hours)
		if err != nil {
			t.Errorf("%q: %v", c.hours, err)
			continue
		}
		when := at(t, c.when)
		want := when
		if c.opens != "" {
			want = at(t, c.opens)
		}
		if got := h.Contains(when); got != (c.opens == "") {
			t.Errorf("%q contains %s: %t", c.hours, when, got)
		}
		got := h.Opens(when)
		if got.Format(time.DateTime) != want.Format(time.DateTime) {
			t.Errorf("%q opens after %s at %s, not %s", c.hours, when, got, want)
		}
		if !h.Contains(got) {
			t.Errorf("%q does not contain %s, at which it opens", c.hours, got)
		}
	}
}

func TestHoursSinceAndLongest(t *testing.T) {
	for _, c := range []struct {
		hours, when, opened string
		longest             time.Duration
	}{
		{"", "Sun 2026-11-29 03:00:00", "Sun 2026-11-22 03:00:00", 7 * 24 * time.Hour},
		{"09:00-18:30", "Sun 2026-11-29 12:34:56", "Sun 2026-11-29 09:00:00", 9*time.Hour + 30*time.Minute},
		{"09:00-18:30", "Sun 2026-11-29 08:00:00", "Sun 2026-11-29 08:00:00", 9*time.Hour + 30*time.Minute},
		{"08:00-12:00, 12:00-13:00, 14:00-15:00", "Sun 2026-11-29 12:30:00", "Sun 2026-11-29 08:00:00", 5 * time.Hour},
		{"sat 22:00-06:00", "Sun 2026-11-29 05:00:00", "Sat 2026-11-28 22:00:00", 8 * time.Hour},
		{"sat-sun 00:00-24:00, mon 00:00-01:00", "Mon 2026-11-30 00:30:00", "Sat 2026-11-28 00:00:00", 49 * time.Hour},
		{"00:00-24:00", "Sun 2026-11-29 03:00:00", "Sun 2026-11-22 03:00:00", 7 * 24 * time.Hour},
	} {
		h, err := config.ParseHours(c.hours)
		if err != nil {
			t.Errorf("%q: %v", c.hours, err)
			continue
		}
		if got, want := h.Opened(at(t, c.when)), at(t, c.opened); !got.Equal(want) {
			t.Errorf("%q at %s: open since %s, not %s", c.hours, c.when, got, want)
		}
		if got := h.Longest(); got != c.longest {
			t.Errorf("%q: the longest is %s, not %s", c.hours, got, c.longest)
		}
	}
}

func TestHoursThatAreNone(t *testing.T) {
	for text, says := range map[string]string{
		"9-18":              "must be hours",
		"mon":               "must be hours",
		"mon,tue 9:00-9:30": "must be hours",
		"09:00-18:30,":      "must be hours",
		"09:00-24:30":       "24:30 is no time",
		"09:60-10:00":       "09:60 is no time",
		"10:00-10:00":       "has no minute",
		"24:00-01:00":       "has no minute",
		"mo 09:00-10:00":    "must be hours",
		"mon-fry 9:00-9:30": "fry is no day",
	} {
		if _, err := config.ParseHours(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzHours(f *testing.F) {
	f.Add("mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00", int64(1795942800))
	f.Add("22:00-06:00", int64(1774742399))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		h, err := config.ParseHours(text)
		if err != nil {
			return
		}
		zone, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		when := time.Unix(unix%(1<<35), 0).In(zone)
		switch got := h.Opens(when); {
		case got.IsZero():
			// The clock leaves its only minutes out, and the next week's are too far.
		case !h.Contains(got), got.Before(when):
			t.Errorf("%q after %s: %s", text, when, got)
		}
	})
}
