package main

import (
	"testing"
	"time"
	_ "time/tzdata" // zones are the same on every computer
)

// The times of a line are right in every second of the hours in which the clocks change, to and fro, and the names of files do
// not know of it.
func TestTimesWhereTheClocksChange(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []time.Time{time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)} {
		var s stamp
		var n name
		seen := map[string]bool{}
		for at := change.Add(-2 * time.Hour); at.Before(change.Add(2 * time.Hour)); at = at.Add(time.Second) {
			local := at.Add(5 * time.Nanosecond).In(zone)
			for _, x := range []time.Time{local, local.UTC(), local} { // as records of several instruments come
				want := x.Format(`"2006-01-02T15:04:05.000000000Z07:00"`)
				if got := string(s.append(nil, x)); got != want {
					t.Fatalf("%s is written as %s", want, got)
				}
			}
			next := n.next(local)
			if text := next.String(); !n.before(next) || seen[text] {
				t.Fatalf("file %s follows %s", text, n)
			} else if back, ok := parseName(text); !ok || !back.at.Equal(at) {
				t.Fatalf("%s is read as %s", text, back.at)
			}
			n = next
			seen[n.String()] = true
		}
	}
}
