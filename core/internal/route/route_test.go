package route_test

import (
	"testing"

	"github.com/hostd/hostd/core/internal/route"
)

func TestMatch(t *testing.T) {
	sinks := []string{"emr", "archive", "lab"}
	rules := []route.Rule{
		{From: "lab*", Labels: map[string]string{"message": "ADT*"}, To: []string{"archive"}},
		{From: "lab*", Kind: "exam", To: []string{"lab"}, Also: true},
		{Kind: "ex*m", To: []string{"emr", "archive"}},
		{From: "ark-1", Kind: "document", To: []string{"archive"}},
	}
	table, err := route.New(rules, sinks)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, from, kind string
		labels           map[string]string
		want             uint64
	}{
		{"label and pattern", "lab-2", "hl7.adt", map[string]string{"message": "ADT^A08"}, 0b010},
		{"label differs", "lab-2", "hl7.oru", map[string]string{"message": "ORU^R01"}, 0},
		{"label absent", "lab-2", "hl7.adt", nil, 0},
		{"also goes on", "lab", "exam", nil, 0b111},
		{"pattern inside", "x", "exam", nil, 0b011},
		{"pattern does not reach", "x", "exams", nil, 0},
		{"exact", "ark-1", "document", nil, 0b010},
		{"other device", "ark-2", "document", nil, 0},
		{"a reject goes nowhere", "ark-1", "reject", nil, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := table.Match(c.from, []byte(c.kind), func(n string) (string, bool) { v, ok := c.labels[n]; return v, ok })
			if got != c.want {
				t.Fatalf("Match = %03b, want %03b", got, c.want)
			}
		})
	}
}

func TestNoRulesIsEverySink(t *testing.T) {
	table, err := route.New(nil, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	if got := table.Match("x", []byte("exam"), none); got != 0b11 {
		t.Fatalf("Match = %b, want 11", got)
	}
	if got := table.Match("x", []byte("reject"), none); got != 0 {
		t.Fatalf("Match of a reject = %b, want 0", got)
	}
}

func TestUnknownSink(t *testing.T) {
	if _, err := route.New([]route.Rule{{To: []string{"nowhere"}}}, []string{"a"}); err == nil {
		t.Fatal("New accepted a rule to a sink that does not exist")
	}
}
