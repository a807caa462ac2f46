package sdktest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// playerOf gives the program of the bad plugins as the other side of one, see testdata/bad.
func playerOf(t *testing.T, name string) Program {
	t.Helper()
	return Program{named(t, badBinary(t), name), "simulate", "--conformance"}
}

// TestExamineSaysWhatToDo holds the report on a plugin that breaks a rule: which, at which call, and what to do.
func TestExamineSaysWhatToDo(t *testing.T) {
	t.Parallel()
	r, err := Examination{Binary: named(t, badBinary(t), "lax"), Instrument: playerOf(t, "plays")}.Examine(t.Context())
	if err != nil || r.Plugin != "lax" || r.Role != sdk.RoleDevice || r.Version != "1.0.0" {
		t.Fatalf("Examine = %+v, %v", r, err)
	}
	at := slices.IndexFunc(r.Rules, func(v Verdict) bool { return v.Rule == unknownRule })
	broken := r.Rules[at]
	if broken.Outcome != Broken || !strings.Contains(broken.Text[0], "Open") || !strings.Contains(broken.Text[0], "no_such_setting") || broken.Remedy != unknownRemedy {
		t.Errorf("the verdict is %+v", broken)
	}
	if n := r.Count(Kept) + r.Count(NotNeeded); n != len(r.Rules)-1 {
		t.Errorf("it keeps %d of %d rules", n, len(r.Rules))
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil || !strings.Contains(text.String(), "broken        "+unknownRule) || !strings.Contains(text.String(), "what to do: "+unknownRemedy) {
		t.Errorf("%v: %s", err, &text)
	}
	if b, err := json.Marshal(broken); err != nil || !strings.HasPrefix(string(b), `{"rule":"refuses an unknown setting by name","outcome":"broken","text":["`) {
		t.Errorf("%v: %s", err, b)
	}
}

// TestProgramsThatDoNotPlay holds what is said of an instrument that is none.
func TestProgramsThatDoNotPlay(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"plays-nothing": "ended before it answered: it said: nothing to play",
		"plays-noise":   "its first line is not one JSON object",
		"plays-wrong":   `answered "perhaps" to "produce 0", want ok or no`,
	} {
		p, e := playerOf(t, name), newExaminer(t.Context())
		e.run(func(t testing.TB) { p.Instrument(t) })
		if len(e.reports) != 1 || !strings.Contains(e.reports[0], says) {
			t.Errorf("%s: %q", name, e.reports)
		}
	}
}
