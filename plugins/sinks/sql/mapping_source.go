package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// scope is where a row's values come from.
type scope struct {
	table       *tableMap
	record      *sdk.Record
	content     content
	original    string // id of the first record of the exam
	exam        *exam.Exam
	eye         string            // of the row, where rows are eyes
	observation *exam.Observation // of the row, where rows are observations
	attachment  *sdk.Attachment   // of the row, where rows are attachments
	idx         int               // of the observation or attachment in its record, from 0
	answers     []answer          // of the lookups that are the same for all rows
}

// source is one value that a record, or a row of it, may have.
type source struct {
	text    string // as it is written
	kind    kind
	varies  bool // between the rows of a record
	patient bool // it is about the patient
	pick    *pick
	get     func(*scope) any // nil: there is none
}

// field is a source with a name of its own.
type field struct {
	name string
	kind kind
	only string // what must make a row for it; empty is any
	get  func(*scope) any
}

const labelPrefix = "record.labels."

// fields are all but the labels and the observations that are picked.
func fields() []field {
	return []field{
		{"record.id", kindText, "", func(sc *scope) any { return sc.record.ID }},
		{"record.original", kindText, "", func(sc *scope) any { return sc.original }},
		{"record.source", kindText, "", func(sc *scope) any { return sc.record.Source }},
		{"record.kind", kindText, "", func(sc *scope) any { return sc.record.Kind }},
		{"record.time", kindTime, "", func(sc *scope) any { return timeOf(sc.record.Time) }},
		{"record.received", kindTime, "", func(sc *scope) any { return timeOf(sc.record.Received) }},
		{"record.seq", kindInteger, "", func(sc *scope) any { return int64(sc.record.Seq) }},
		{"record.amends", kindText, "", func(sc *scope) any { return orNothing(sc.record.Amends) }},
		{"record.hash", kindText, "", func(sc *scope) any { return sc.record.ContentHashHex() }},
		{"record.content_type", kindText, "", func(sc *scope) any { return orNothing(sc.record.ContentType) }},
		{"record.data", kindBytes, "", func(sc *scope) any { return blob(sc.content.data) }},
		{"record.raw", kindBytes, "", func(sc *scope) any { return blob(sc.content.raw) }},
		{"exam.taken_at", kindTime, "", ofExam(func(e *exam.Exam) string { return e.TakenAt })},
		{"exam.warnings", kindText, "", ofExam(func(e *exam.Exam) string { return strings.Join(e.Warnings, ", ") })},
		{"patient.id", kindText, "", ofExam(func(e *exam.Exam) string { return e.Patient.ID })},
		{"patient.name", kindText, "", ofExam(func(e *exam.Exam) string { return e.Patient.Name })},
		{"patient.birth", kindDate, "", ofExam(func(e *exam.Exam) string { return e.Patient.Birth })},
		{"patient.sex", kindText, "", ofExam(func(e *exam.Exam) string { return e.Patient.Sex })},
		{"device.make", kindText, "", ofExam(func(e *exam.Exam) string { return e.Device.Make })},
		{"device.model", kindText, "", ofExam(func(e *exam.Exam) string { return e.Device.Model })},
		{"device.serial", kindText, "", ofExam(func(e *exam.Exam) string { return e.Device.Serial })},
		{"eye", kindText, rowsEye, func(sc *scope) any { return sc.eye }},
		{"observation.code", kindText, rowsObservation, func(sc *scope) any { return sc.observation.Code }},
		{"observation.eye", kindText, rowsObservation, func(sc *scope) any { return sc.observation.Eye }},
		{"observation.value", kindEither, rowsObservation, func(sc *scope) any { return valueOf(sc.observation) }},
		{"observation.text", kindText, rowsObservation, func(sc *scope) any { return sentOf(sc.observation) }},
		{"observation.unit", kindText, rowsObservation, func(sc *scope) any { return orNothing(sc.observation.Unit) }},
		{"observation.method", kindText, rowsObservation, func(sc *scope) any { return orNothing(sc.observation.Method) }},
		{"observation.seq", kindInteger, rowsObservation, func(sc *scope) any { return int64(sc.observation.Seq) }},
		{"observation.flags", kindText, rowsObservation, func(sc *scope) any { return orNothing(strings.Join(sc.observation.Flags, ", ")) }},
		{"observation.idx", kindInteger, rowsObservation, func(sc *scope) any { return int64(sc.idx) }},
		{"attachment.name", kindText, rowsAttachment, func(sc *scope) any { return orNothing(sc.attachment.Name) }},
		{"attachment.content_type", kindText, rowsAttachment, func(sc *scope) any { return orNothing(sc.attachment.ContentType) }},
		{"attachment.size", kindInteger, rowsAttachment, func(sc *scope) any { return sc.attachment.Size }},
		{"attachment.hash", kindText, rowsAttachment, func(sc *scope) any { return orNothing(sc.attachment.Hash) }},
		{"attachment.idx", kindInteger, rowsAttachment, func(sc *scope) any { return int64(sc.idx) }},
	}
}

// orNothing is the text, or nil where it is empty.
func orNothing(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// timeOf is the time, or nil where there is none.
func timeOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func ofExam(get func(*exam.Exam) string) func(*scope) any {
	return func(sc *scope) any {
		if sc.exam == nil {
			return nil
		}
		return orNothing(get(sc.exam))
	}
}

func valueOf(o *exam.Observation) any {
	if f, ok := o.Value.Float(); ok {
		return f
	}
	return o.Value.String()
}

// sentOf is the value as the instrument sent it.
func sentOf(o *exam.Observation) any { return cmp.Or(o.Text, o.Value.String()) }

// source reads one source, or adds what is wrong with it.
func (c *compiler) source(key string, t *tableMap, written any) (s source, ok bool) {
	text, isText := written.(string)
	switch {
	case !isText:
		c.add(key, "must be a source such as patient.id; a value that is always the same is written {value: 1}")
		return s, false
	case strings.HasPrefix(text, "obs(") || strings.HasPrefix(text, "obs ("):
		return c.observed(key, t, text)
	case strings.HasPrefix(text, labelPrefix) && len(text) > len(labelPrefix):
		label := text[len(labelPrefix):]
		return source{text: text, kind: kindText, get: func(sc *scope) any { return orNothing(sc.record.Labels[label]) }}, true
	}
	var names []string
	for _, f := range fields() {
		if f.only != "" && f.only != t.rows {
			if f.name == text {
				c.add(key, "%s is there where a row is %s, and here it is %s", text, article(f.only), article(t.rows))
				return s, false
			}
			continue
		}
		if f.name == text {
			c.m.raw = c.m.raw || text == "record.raw"
			return source{text: text, kind: f.kind, varies: f.only != "", patient: strings.HasPrefix(text, "patient."), get: f.get}, true
		}
		names = append(names, f.name)
	}
	c.add(key, "unknown field%s%s", said(text), meant(text, names))
	return s, false
}

var picked = regexp.MustCompile(`^obs\s*\(([^()]*)\)(?:\.([a-z]+))?$`)

// observed reads obs(CODE EYE METHOD SEQ).FIELD, of which CODE must be there.
func (c *compiler) observed(key string, t *tableMap, text string) (s source, ok bool) {
	m := picked.FindStringSubmatch(text)
	if m == nil {
		c.add(key, "an observation is written obs(sphere R), obs(sphere R final) or obs(sphere R).unit")
		return s, false
	}
	words := strings.FieldsFunc(m[1], func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	if len(words) == 0 {
		c.add(key, "obs() names no observation: write obs(sphere R)")
		return s, false
	}
	before := len(c.list)
	p := &pick{code: c.code(key, words[0]), seq: -1}
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		switch {
		case isEye(w) && p.eye == "":
			p.eye = w
		case err == nil && n >= 0 && p.seq < 0:
			p.seq = n
		case err != nil && p.method == "" && isMethod(w):
			p.method = w
		default:
			c.add(key, "obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)")
		}
	}
	if p.eye == "" && t.rows != rowsEye {
		c.add(key, "obs() must name the eye (R, L, or B for both), because a row is %s", article(t.rows))
	}
	s = source{text: text, varies: t.rows == rowsEye && p.eye == "", pick: p}
	c.pickField(key, &s, cmp.Or(m[2], "value"))
	return s, len(c.list) == before
}

func isMethod(w string) bool {
	return !strings.ContainsFunc(w, func(r rune) bool { return r != '_' && r != '*' && (r < 'a' || r > 'z') })
}

// code is the code of a word. One that is not of package exam stands in quotes, so that a typing error is found.
func (c *compiler) code(key, word string) string {
	if n := len(word); n > 2 && strings.ContainsRune(`'"`, rune(word[0])) && word[n-1] == word[0] {
		return word[1 : n-1]
	}
	if _, known := exam.UnitOf(word); !known {
		c.add(key, `unknown code%s%s; a code that is not hostd's own is written in quotes: obs("79892-6" R)`, said(word), meant(word, exam.Codes()))
	}
	return word
}

// pickField gives the source the field of the observation.
func (c *compiler) pickField(key string, s *source, name string) {
	p := s.pick
	read := func(k kind, get func(*exam.Observation) any) {
		s.kind = k
		s.get = func(sc *scope) any {
			if o := p.find(sc); o != nil {
				return get(o)
			}
			return nil
		}
	}
	switch name {
	case "value":
		k := kindEither
		if unit, _ := exam.UnitOf(p.code); unit != "" {
			k = kindNumber
		} else if exam.IsIdentifier(p.code) {
			k = kindText
		}
		read(k, valueOf)
	case "text":
		read(kindText, sentOf)
	case "unit":
		read(kindText, func(o *exam.Observation) any { return orNothing(o.Unit) })
	case "method":
		read(kindText, func(o *exam.Observation) any { return orNothing(o.Method) })
	case "seq":
		read(kindInteger, func(o *exam.Observation) any { return int64(o.Seq) })
	case "flags":
		read(kindText, func(o *exam.Observation) any { return orNothing(strings.Join(o.Flags, ", ")) })
	default:
		c.add(key, "obs() has no field%s%s", said(name), meant(name, []string{"value", "text", "unit", "method", "seq", "flags"}))
	}
}

var speakable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,40}$`)

// said is a word of the configuration in quotes, or nothing where it may be something else than a word.
func said(word string) string {
	if !speakable.MatchString(word) {
		return ""
	}
	return fmt.Sprintf(" %q", word)
}

// meant offers the known words that end alike after their dot, or the nearest, or all where they are few.
func meant(word string, known []string) string {
	var alike []string
	last := word[strings.LastIndexByte(word, '.')+1:]
	best, least := "", len(word)
	for _, k := range slices.Sorted(slices.Values(known)) {
		if last != word && k[strings.LastIndexByte(k, '.')+1:] == last {
			alike = append(alike, k)
		}
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least && d <= min(len(k), len(word))/3+1 {
			best, least = k, d
		}
	}
	switch {
	case best != "" && (least <= 2 || len(alike) == 0):
		return fmt.Sprintf("; did you mean %q?", best)
	case len(alike) > 0:
		return `; did you mean "` + strings.Join(alike, `" or "`) + `"?`
	case len(known) == 0 || len(known) > 12:
		return ""
	}
	return "; known: " + strings.Join(known, ", ")
}

// distance counts the letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
