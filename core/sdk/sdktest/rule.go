package sdktest

import "testing"

// rule is one rule of the contract; check fails t where the plugin P breaks it.
type rule[P any] struct {
	name   string
	remedy string // what its author does who has broken it
	check  func(t testing.TB, p *P)
}

// run runs each rule as a subtest.
func run[P any](t *testing.T, rules []rule[P], p *P) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("the rule is %q. What to do: %s", r.name, r.remedy)
				}
			}()
			r.check(t, p)
		})
	}
}

// unexamined is why a rule that the plugin should keep cannot be held against it: it is what t.Skip is given.
type unexamined string

// String is the text.
func (u unexamined) String() string { return "not examined: " + string(u) }
