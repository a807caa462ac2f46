package lineprofile_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestManyRules holds that the first of the rules that fit is found, however many there are and however they begin.
func TestManyRules(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		match := []string{"K%d", "[LM]%d", "(?:%d|N%[1]d)", ".%d"}[i%4]
		fmt.Fprintf(&rules, "  - {match: '"+match+"=(\\d+)', fields: [{code: own%[1]d, unit: ''}]}\n", i)
	}
	rules.WriteString("  - {match: '(K)$', fields: [{code: short, unit: ''}]}\n  - {match: '(.)', fields: [{code: other, unit: ''}]}\n")
	head, _, _ := strings.Cut(frames, "rules:")
	p := load(t, head+"split: ;\nrules:\n"+rules.String())
	for in, want := range map[string]string{
		"K0=7": "own0 7", " K64=7": "own64 7", "K196=7": "own196 7", "L1=7": "own1 7", "M197=7": "own197 7", "L65=7": "own65 7", "O65=7": "other O",
		"2=7": "own2 7", "N198=7": "own198 7", "Z199=7": "own199 7", "K199=7": "own199 7", "K": "short K", "Z": "other Z", " K1": "other K", "=": "other =",
	} {
		got := read(p, []byte("\x02"+in+"\x03")).Exams
		if len(got) != 1 || len(got[0].Observations) == 0 {
			t.Errorf("%q: %+v", in, got)
			continue
		}
		if o := got[0].Observations[0]; o.Code+" "+o.Value.String() != want {
			t.Errorf("%q: %s %s, want %s", in, o.Code, o.Value, want)
		}
	}
}
