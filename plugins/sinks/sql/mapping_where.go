package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// where says which rows to write.
type where struct {
	source, kind, code, eye, method []string // patterns, of which one must fit; nil is any
	seq                             string
}

// where checks what is written against what makes a row.
func (c *compiler) where(at string, in *tableSetting) where {
	w := where{source: in.Where.Source, kind: in.Where.Kind, code: in.Where.Code, eye: in.Where.Eye, method: in.Where.Method, seq: in.Where.Seq}
	lists := []struct {
		name     string
		list     []string
		observed bool // of observations
	}{
		{"source", w.source, false}, {"kind", w.kind, false}, {"code", w.code, true}, {"eye", w.eye, true}, {"method", w.method, true},
	}
	ofExam := in.Rows == rowsExam || in.Rows == rowsEye || in.Rows == rowsObservation
	for _, l := range lists {
		key := at + "." + l.name
		switch {
		case l.list == nil:
		case len(l.list) == 0:
			c.add(key, "is empty: name one, or leave the key out")
		case l.observed && !ofExam:
			c.add(key, "is about observations, and a row is %s here", article(in.Rows))
		case l.name == "kind" && ofExam:
			c.add(key, "is always exam where a row is %s", article(in.Rows))
		}
	}
	if w.seq != "all" && w.seq != "" && !ofExam {
		c.add(at+".seq", "is about observations, and a row is %s here", article(in.Rows))
	}
	for i, eye := range w.eye {
		if !isEye(eye) || eye == exam.Both && in.Rows == rowsEye {
			c.add(fmt.Sprintf("%s.eye[%d]", at, i), "must be R or L%s", map[bool]string{true: "", false: ", or B for both"}[in.Rows == rowsEye])
		}
	}
	return w
}

func article(rows string) string {
	if strings.ContainsRune("aeio", rune(rows[0])) {
		return "an " + rows
	}
	return "a " + rows
}

func isEye(s string) bool { return s == exam.Right || s == exam.Left || s == exam.Both }

// takes says whether the record is one to write.
func (w *where) takes(r *sdk.Record) bool { return fits(w.source, r.Source) && fits(w.kind, r.Kind) }

// takesObservation says whether the observation is one to write, or to write a row for.
func (w *where) takesObservation(o *exam.Observation) bool {
	return w.takesShot(o.Seq) && fits(w.code, o.Code) && fits(w.eye, o.Eye) && fits(w.method, o.Method)
}

func (w *where) takesShot(seq int) bool {
	switch w.seq {
	case "summary":
		return seq == 0
	case "shots":
		return seq > 0
	}
	return true
}

// fits says whether one of the patterns fits; none at all fit anything.
func fits(patterns []string, s string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(p string) bool { return like(p, s) })
}

// like compares s with a pattern in which * is any text, as in routes.
func like(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], more
	}
}

// pick is an observation that a source names.
type pick struct {
	code   string
	eye    string // empty: that of the row
	method string // pattern; empty: what where says
	seq    int    // -1: the summary, or else the first shot, of what where says
}

// find is the observation, or nil.
func (p *pick) find(sc *scope) *exam.Observation {
	if sc.exam == nil {
		return nil
	}
	eye := p.eye
	if eye == "" {
		eye = sc.eye
	}
	var best *exam.Observation
	for i := range sc.exam.Observations {
		o := &sc.exam.Observations[i]
		if o.Code != p.code || o.Eye != eye || !p.takes(&sc.table.where, o) {
			continue
		}
		if best == nil || o.Seq < best.Seq {
			best = o
		}
	}
	return best
}

func (p *pick) takes(w *where, o *exam.Observation) bool {
	if p.method == "" && !fits(w.method, o.Method) || p.method != "" && !like(p.method, o.Method) {
		return false
	}
	if p.seq >= 0 {
		return o.Seq == p.seq
	}
	return w.takesShot(o.Seq)
}

// observes says whether it is about observations.
func (w *where) observes() bool {
	return w.code != nil || w.eye != nil || w.method != nil || w.seq == "summary" || w.seq == "shots"
}
