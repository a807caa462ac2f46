package sdktest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Report says how a plugin keeps the contract, rule by rule.
type Report struct {
	Plugin  string    `json:"plugin"`
	Version string    `json:"version"`
	Role    sdk.Role  `json:"role"`
	Rules   []Verdict `json:"rules"`
	Seconds float64   `json:"seconds"`
}

// Verdict is what became of one rule.
type Verdict struct {
	Rule    string   `json:"rule"` // its name, as in docs/contract.md
	Outcome Outcome  `json:"outcome"`
	Text    []string `json:"text,omitempty"`   // what was seen, or why it was not looked at
	Remedy  string   `json:"remedy,omitempty"` // of a broken rule: what to do
	Seconds float64  `json:"seconds"`
}

// Outcome is a verdict in one word.
type Outcome string

// Outcomes of a rule.
const (
	Kept        Outcome = "kept"
	Broken      Outcome = "broken"
	NotNeeded   Outcome = "not needed"   // the rule does not apply to this plugin
	NotExamined Outcome = "not examined" // the suite lacks something, which Text names
)

// Count is how many rules have the outcome.
func (r Report) Count(o Outcome) (n int) {
	for i := range r.Rules {
		if r.Rules[i].Outcome == o {
			n++
		}
	}
	return n
}

// Write prints the report for a person: broken rules with what was seen and what to do, the others in a line each.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, a %s, against the contract\n\n", r.Plugin, r.Version, r.Role)
	var last string
	for i := range r.Rules {
		v := &r.Rules[i]
		if said := strings.Join(v.Text, "\n"); v.Outcome == NotExamined && said == last {
			v = &Verdict{Rule: v.Rule, Outcome: v.Outcome, Seconds: v.Seconds} // once is enough
		} else {
			last = said
		}
		fmt.Fprintf(&b, "%-13s %s (%s)\n", v.Outcome, v.Rule, seconds(v.Seconds))
		for _, text := range v.Text {
			fmt.Fprintf(&b, "%14s%s\n", "", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+strings.Repeat(" ", 14)))
		}
		if v.Remedy != "" {
			fmt.Fprintf(&b, "%14swhat to do: %s\n", "", v.Remedy)
		}
	}
	var counts []string
	for _, o := range []Outcome{Kept, Broken, NotNeeded, NotExamined} {
		if n := r.Count(o); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, o))
		}
	}
	fmt.Fprintf(&b, "\n%d rules in %s: %s\n", len(r.Rules), seconds(r.Seconds), strings.Join(counts, ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

func seconds(s float64) string { return fmt.Sprintf("%.1f s", s) }

// since is the time in seconds, for a report.
func since(begin time.Time) float64 { return float64(time.Since(begin).Milliseconds()) / 1000 }

// add notes what became of a rule.
func (r *Report) add(name, remedy string, e *examiner, begin time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := Verdict{Rule: name, Outcome: Kept, Seconds: since(begin)}
	switch {
	case len(e.reports) > 0:
		v.Outcome, v.Text, v.Remedy = Broken, slices.Clone(e.reports), remedy
	case e.skipped:
		v.Outcome, v.Text = e.why, []string{e.reason}
	}
	r.Rules = append(r.Rules, v)
}
