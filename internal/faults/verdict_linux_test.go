package faults

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func witnessed(n int) []byte {
	sum := sha256.Sum256([]byte("text"))
	return fmt.Appendf(nil, "%d|%s|text", n, hex.EncodeToString(sum[:]))
}

// TestOracle shows the oracle one wrong thing at a time, and what is right.
func TestOracle(t *testing.T) {
	row := func(n int) arrival {
		return arrival{source: "wit", id: fmt.Sprintf("wit-%d", n), seq: uint64(n), data: witnessed(n)}
	}
	line := func(n int) arrival {
		a := row(n)
		a.again = true
		return a
	}
	change := func(a arrival, f func(*arrival)) arrival {
		f(&a)
		return a
	}
	for _, c := range []struct {
		name string
		list []arrival
		told int64
		away []string
		want string
	}{
		{"all there", []arrival{row(1), row(2)}, 2, nil, ""},
		{"more than told", []arrival{row(1), row(2), row(3)}, 2, nil, ""},
		{"a line again", []arrival{line(1), line(2), line(1), line(2), line(3)}, 3, nil, ""},
		{"newest lost", []arrival{row(1)}, 2, nil, "told that 2"},
		{"all lost", nil, 2, nil, "told that 2"},
		{"one lost", []arrival{row(1), row(3)}, 3, nil, "lost, or out of order"},
		{"twice", []arrival{row(1), row(1)}, 1, nil, "twice"},
		{"out of order", []arrival{row(2), row(1)}, 2, nil, "out of order"},
		{"seq goes back", []arrival{row(1), change(row(2), func(a *arrival) { a.seq = 1 })}, 2, nil, "has seq 1"},
		{"damaged", []arrival{change(row(1), func(a *arrival) { a.data[len(a.data)-1] = 'T' })}, 1, nil, "damaged"},
		{"another witness's damaged", []arrival{change(row(1), func(a *arrival) { a.source, a.id, a.data[len(a.data)-1] = "calm", "calm-1", 'T' })}, 0, nil, "damaged"},
		{"another's data", []arrival{change(row(1), func(a *arrival) { a.data = witnessed(2) })}, 1, nil, "another record's"},
		{"again with other data", []arrival{line(1), change(line(1), func(a *arrival) { a.data = append(a.data[:0:0], "1|"+emptySum+"|"...) })}, 1, nil, "other data"},
		{"no data", []arrival{change(row(1), func(a *arrival) { a.data = nil })}, 1, nil, "no data"},
		{"nobody's number", []arrival{change(row(1), func(a *arrival) { a.id = "wit-x" })}, 0, nil, "nobody sent"},
		{"nobody's file", []arrival{{source: "share", id: "other", seq: 1}}, 0, nil, "nobody sent"},
		{"file", []arrival{{source: "share", id: "id of a", seq: 1}}, 0, []string{"a.xml"}, ""},
		{"file lost", nil, 0, []string{"a.xml"}, "its record is lost"},
		{"file twice", []arrival{{source: "share", id: "id of a", seq: 1}, {source: "share", id: "id of a", seq: 2}}, 0, nil, "twice"},
	} {
		o := newOracle()
		o.share["id of a"] = "a.xml"
		lanes := map[string]*lane{}
		for i := range c.list {
			o.arrived(lanes, &c.list[i])
		}
		o.complete("here", lanes, map[string]int64{"wit": c.told}, c.away)
		got := strings.Join(o.faults, "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// emptySum is the SHA-256 of nothing, in hex.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
