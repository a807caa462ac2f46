package main

import (
	"testing"
	"time"
	_ "time/tzdata" // zones are the same on every computer
)

// A time that an operator writes is of this computer's zone. Around the hour that is there twice, hours from outside of it take
// in both, and a zone behind the time tells the two apart.
func TestMomentWhereTheClocksChange(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	for _, c := range []struct {
		zone, from, to string
		hours          float64
	}{
		{"Europe/Berlin", "2026-10-25T01:00", "2026-10-25T03:00", 3},
		{"Europe/Berlin", "2026-10-25", "2026-10-26", 25},
		{"Europe/Berlin", "2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+02:00", 1},
		{"Europe/Berlin", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", 1},
		{"Europe/Berlin", "2026-03-29T01:00", "2026-03-29T03:00", 1},
		{"Europe/Berlin", "2026-03-29", "2026-03-30", 23},
		{"Asia/Seoul", "2026-10-25T01:00", "2026-10-25T03:00", 2},
		{"Asia/Seoul", "2026-10-25", "2026-10-26", 24},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		time.Local = zone
		from, err := moment(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := moment(c.to)
		if err != nil || to.Sub(from).Hours() != c.hours {
			t.Errorf("%s: from %s to %s is %s, %v; want %v h", c.zone, c.from, c.to, to.Sub(from), err, c.hours)
		}
	}
	for _, text := range []string{"2026-10-25T02:30", "2026-03-29T02:30"} { // twice, and never
		time.Local = local
		zone, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		time.Local = zone
		at, err := moment(text)
		winter, werr := moment(text + ":00+01:00")
		summer, serr := moment(text + ":00+02:00")
		if err != nil || werr != nil || serr != nil || !at.Equal(winter) && !at.Equal(summer) {
			t.Errorf("%s is %s, %v, %v, %v; want %s or %s", text, at, err, werr, serr, winter, summer)
		}
	}
}
