package main

import (
	"os"
	"testing"
	"time"
	_ "time/tzdata" // zones are the same on every computer

	"github.com/hostd/hostd/core/sdk/exam"
)

// localZone makes a zone this computer's for the test.
func localZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	time.Local = zone
	return zone
}

// An exam of the hour that is there twice, or never, has a time: one of the two that it can mean, and always the same one. Any
// other has exactly its own, and a zone in the text counts.
func TestTakenAtWhereTheClocksChange(t *testing.T) {
	const winter, summer = "+01:00", "+02:00"
	for _, c := range []struct{ zone, text, either, or string }{
		{"Europe/Berlin", "2026-03-29T01:59:59", winter, winter},
		{"Europe/Berlin", "2026-03-29T02:30:00", winter, summer}, // there is none
		{"Europe/Berlin", "2026-03-29T03:00:00", summer, summer},
		{"Europe/Berlin", "2026-10-25T01:59:59", summer, summer},
		{"Europe/Berlin", "2026-10-25T02:30:00", summer, winter}, // there are two
		{"Europe/Berlin", "2026-10-25T03:00:00", winter, winter},
		{"Asia/Seoul", "2026-10-25T02:30:00", "+09:00", "+09:00"},
	} {
		localZone(t, c.zone)
		got := exam.ParseTakenAt(c.text)
		if at := got.Format(time.RFC3339); !got.Equal(exam.ParseTakenAt(c.text+c.either)) && !got.Equal(exam.ParseTakenAt(c.text+c.or)) || got.IsZero() {
			t.Errorf("%s in %s is %s, want it at %s or %s", c.text, c.zone, at, c.either, c.or)
		}
		if again := exam.ParseTakenAt(c.text); !again.Equal(got) {
			t.Errorf("%s in %s is %s and then %s", c.text, c.zone, got, again)
		}
		for _, zone := range []string{c.either, c.or} {
			want, err := time.Parse(time.RFC3339, c.text+zone)
			if got := exam.ParseTakenAt(c.text + zone); err != nil || !got.Equal(want) {
				t.Errorf("%s is %s, want %s", c.text+zone, got, want)
			}
		}
	}
}

// Files of one name that come in the two hours of the same name are both kept.
func TestNameTakenWhereTheClocksChange(t *testing.T) {
	zone, dir, seen := localZone(t, "Europe/Berlin"), t.TempDir(), map[string]bool{}
	first := time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC).In(zone)
	for _, now := range []time.Time{first, first, first.Add(time.Hour), first.Add(time.Hour)} {
		path, err := freeName(dir, "exam.xml", now)
		if err == nil {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil || seen[path] {
			t.Fatalf("%s at %s: %v, taken before: %v", path, now, err, seen[path])
		}
		seen[path] = true
	}
}
