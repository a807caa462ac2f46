// Package route decides which sinks a record goes to. It is a pure function of the record's source, kind and labels.
//
//	device -> supervise -> schedule -> [ route ] -> spool -> dispatch -> sink
package route

import (
	"fmt"
	"slices"

	"github.com/hostd/hostd/core/sdk"
)

// Rule sends what matches to sinks. Empty patterns match everything; a pattern may contain * for any text.
type Rule struct {
	From   string            // device
	Kind   string            // record's kind
	Labels map[string]string // each must be there and match
	To     []string          // names of sinks
	Also   bool              // go on to the next rule after this one
}

// Table holds the rules and the sinks. It does not change after New and may be used by many at once.
type Table struct {
	rules []compiled
	all   uint64
}

type compiled struct {
	from, kind string
	labels     [][2]string
	sinks      uint64
	also       bool
}

// MaxSinks is the number of sinks that a table can tell apart.
const MaxSinks = 64

// New compiles the rules. The answer of Match has bit n set for sinks[n]. An error names a rule with an unknown sink.
func New(rules []Rule, sinks []string) (*Table, error) {
	if len(sinks) > MaxSinks {
		return nil, fmt.Errorf("route: %d sinks, the limit is %d", len(sinks), MaxSinks)
	}
	t := &Table{}
	for i := range sinks {
		t.all |= 1 << i
	}
	for i, r := range rules {
		c := compiled{from: r.From, kind: r.Kind, also: r.Also}
		for k, v := range r.Labels {
			c.labels = append(c.labels, [2]string{k, v})
		}
		for _, name := range r.To {
			at := slices.Index(sinks, name)
			if at < 0 {
				return nil, fmt.Errorf("route %d: unknown sink %q", i+1, name)
			}
			c.sinks |= 1 << at
		}
		t.rules = append(t.rules, c)
	}
	return t, nil
}

// Match gives the sinks of a record; label looks a label up. Without rules everything goes to every sink; a reject
// goes to none.
func (t *Table) Match(from string, kind []byte, label func(name string) (string, bool)) uint64 {
	if string(kind) == sdk.KindReject {
		return 0
	}
	if len(t.rules) == 0 {
		return t.all
	}
	var to uint64
	for i := range t.rules {
		r := &t.rules[i]
		if !r.matches(from, kind, label) {
			continue
		}
		to |= r.sinks
		if !r.also {
			break
		}
	}
	return to
}

func (r *compiled) matches(from string, kind []byte, label func(string) (string, bool)) bool {
	if r.from != "" && !Like(r.from, from) {
		return false
	}
	if r.kind != "" && r.kind != string(kind) && !Like(r.kind, string(kind)) {
		return false
	}
	for _, l := range r.labels {
		if v, ok := label(l[0]); !ok || !Like(l[1], v) {
			return false
		}
	}
	return true
}

// Like matches a pattern in which * is any text, also none.
func Like(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
