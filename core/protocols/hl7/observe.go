package hl7

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Fields of OBX (HL7 v2.5.1 section 7.4.2).
const (
	obxType   = 2
	obxCode   = 3
	obxSub    = 4
	obxValue  = 5
	obxUnit   = 6
	obxFlags  = 8
	obxStatus = 11
	obxMethod = 17
	obxDevice = 18
	obxSite   = 20
	obxFields = 21
)

// What bounds the memory of one observation.
const (
	maxFlags   = 8   // of one observation
	maxSent    = 128 // bytes of a value that is kept as it was sent, beside what was made of it
	maxNumbers = 64  // bytes of an SN
)

// obx has the fields of one OBX segment by their number, as sent.
type obx [obxFields][]byte

// observe takes one OBX. Without a value it is none, but may name the device (the rows of PCD-01 that only build the tree).
func (e *examiner) observe(s Segment) {
	var x obx
	s.split(x[1:])
	if e.now.serial == "" {
		e.now.serial = e.value(e.field(&x, obxDevice).Component(1).Bytes())
	}
	v, found := e.valueOf(&x)
	status := string(bytes.TrimSpace(x[obxStatus]))
	switch {
	case v.deleted || status == "D" || status == "W": // a value of an earlier message is void (table 0085): only the message can say
		e.now.warn[warnUnknown] = true
		return
	case !found:
		return
	case status == "X" || status == "N" || v.numeric && e.rules.isSentinel(v.value):
		e.now.warn[warnSentinel] = true
		return
	}
	if len(e.all) == cap(e.all) {
		e.full = true
		return
	}
	for _, a := range v.files {
		a.Exam = len(e.result.Exams)
		e.attachments = append(e.attachments, a)
	}
	e.put(e.observation(&x, v, status))
}

func (e *examiner) field(x *obx, n int) Field { return Field{x[n], e.m.d} }

// observation says what the value is.
func (e *examiner) observation(x *obx, v value, status string) exam.Observation {
	rule, known := e.rules.rule(e.field(x, obxCode))
	o := exam.Observation{Code: rule.As, Method: rule.Method, Value: v.value, Text: v.sent}
	if o.Code == "" {
		o.Code = e.code(e.field(x, obxCode))
	}
	o.Eye, o.Seq = e.place(x, rule)
	switch {
	case o.Method != "":
	case v.method != "":
		o.Method = v.method
	default:
		o.Method = e.method(e.field(x, obxMethod))
	}
	if exam.IsIdentifier(o.Code) && v.value.IsNumber() {
		o.Value, o.Text = exam.Text(cmp.Or(strings.TrimSpace(v.sent), v.value.String())), ""
	}
	if _, ours := exam.UnitOf(o.Code); ours && known {
		e.measure(&o, e.field(x, obxUnit), rule.Unit)
	} else {
		o.Unit = e.foreignUnit(e.field(x, obxUnit), rule.Unit)
	}
	o.Flags = e.flags(e.field(x, obxFlags), status)
	return o
}

// code is the source's own: OBX-3.1, else the alternate, else the text of one of them.
func (e *examiner) code(f Field) string {
	r := f.Repetition(1)
	for _, n := range []int{1, 4, 2, 5} {
		if code := e.value(r.Component(n).Bytes()); code != "" {
			return code
		}
	}
	e.now.warn[warnUnknown] = true
	return exam.CodeText
}

// place is eye and number: OBX-4 says <eye>.<seq>, or either. The eye of the code goes before it, the body site of OBX-20
// and of the order behind it; without a number it is the place of the OBX in the message.
func (e *examiner) place(x *obx, rule Rule) (eye string, seq int) {
	sub := e.field(x, obxSub).Component(1).Bytes()
	head, number, dotted := bytes.Cut(sub, []byte{'.'})
	eye, seq = eyeOf(head), e.obx
	if n, ok := natural(number); eye != "" && dotted && ok {
		seq = n
	}
	if rule.Eye != "" {
		eye = rule.Eye
	}
	if eye == "" {
		eye = e.rules.site(e.field(x, obxSite))
	}
	if eye == "" {
		eye = e.now.site
	}
	if eye == "" {
		eye = exam.Both
	}
	return eye, seq
}

func eyeOf(b []byte) string {
	switch string(b) {
	case "R", "OD":
		return exam.Right
	case "L", "OS":
		return exam.Left
	case "B", "OU":
		return exam.Both
	}
	return ""
}

// natural reads up to six digits.
func natural(b []byte) (n int, ok bool) {
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(b) > 0 && len(b) <= 6
}

// method is what OBX-17 says in our own words, or in those of the mapping.
func (e *examiner) method(f Field) string {
	c := f.Repetition(1)
	code := c.Component(1).Bytes()
	if len(code) == 0 {
		return ""
	}
	if own := e.rules.methods[string(code)]; own != "" {
		return own
	}
	if string(c.Component(3).Bytes()) == eyeSystem {
		return e.value(code)
	}
	return ""
}

// flags are OBX-8, and OBX-11 where that is no final result: status=C.
func (e *examiner) flags(f Field, status string) (list []string) {
	if len(f.raw) > 0 {
		for r := range f.Repetitions() {
			if flag := e.value(r.Component(1).Bytes()); flag != "" && len(list) < maxFlags {
				list = append(list, flag)
			}
		}
	}
	if status != "" && status != "F" {
		list = append(list, "status="+e.text([]byte(status)))
	}
	return list
}

// put adds an observation. A second one with the same key gets the next free number of that key, with a warning: which of
// the two is right is not for a parser to say.
func (e *examiner) put(o exam.Observation) {
	mine := e.all[e.now.from:]
	if e.now.numbers.add(o.Seq) {
		mine = nil // no other has this number
	}
	same := func(p exam.Observation) bool { return p.Eye == o.Eye && p.Code == o.Code && p.Method == o.Method }
	taken := false
	for i := 0; i < len(mine) && !taken; i++ {
		taken = mine[i].Seq == o.Seq && same(mine[i])
	}
	if taken {
		e.now.warn[warnDuplicate] = true
		for _, p := range mine {
			if p.Seq >= o.Seq && same(p) {
				o.Seq = p.Seq + 1
			}
		}
	}
	e.all = append(e.all, o)
}

// numbers are those that observations may have: none that has one is missing.
type numbers [32]uint64

// add takes n, and says whether it was surely not there.
func (s *numbers) add(n int) bool {
	word, bit := n/64%len(s), uint64(1)<<(n%64)
	fresh := s[word]&bit == 0
	s[word] |= bit
	return fresh
}

// rule is the first rule for the code of OBX-3 or for its alternate.
func (m *Mapping) rule(f Field) (r Rule, known bool) {
	code := f.Repetition(1)
	for _, n := range [...]int{1, 4} {
		for _, r := range m.rules[string(code.Component(n).Bytes())] {
			if r.System == "" || r.System == string(code.Component(n+2).Bytes()) {
				return r, true
			}
		}
	}
	return Rule{}, false
}

// site is the eye of a coded body site, or empty.
func (m *Mapping) site(f Field) string {
	if len(f.raw) == 0 {
		return ""
	}
	return m.sites[string(f.Component(1).Sub(1))]
}

func (m *Mapping) isSentinel(v exam.Value) bool {
	f, ok := v.Float()
	return ok && m.sentinels[f]
}

// measure puts a number into the unit of its code. One in a unit that cannot be converted keeps that unit.
func (e *examiner) measure(o *exam.Observation, f Field, assumed string) {
	target, _ := exam.UnitOf(o.Code)
	o.Unit = target
	sent := bytes.TrimSpace(f.Component(1).Bytes())
	if len(sent) == 0 && assumed != "" {
		sent = []byte(assumed)
	}
	if len(sent) == 0 || !o.Value.IsNumber() {
		return
	}
	unit := e.rules.units[string(sent)]
	if unit == "" {
		unit = e.value(sent)
		if known := e.rules.units[unit]; known != "" {
			unit = known
		}
	}
	switch other := twin(o.Code, unit); {
	case unit == target:
	case other != "":
		o.Code, o.Unit = other, unit
	default:
		e.convert(o, unit, target)
	}
}

// convert is for lengths. A unit that is none, or none that is known, stands beside the number as it was sent.
func (e *examiner) convert(o *exam.Observation, unit, target string) {
	from, ok := lengthExponent(unit)
	to, ok2 := lengthExponent(target)
	if !ok || !ok2 {
		o.Unit = unit
		return
	}
	text := o.Value.String()
	if v, ok := shiftDecimal(text, from-to); ok {
		o.Value = v
		if o.Text == "" {
			o.Text = text
		}
	}
}

// twin is the code for the same pressure in the other unit, or empty.
func twin(code, unit string) string {
	switch {
	case code == exam.CodeIOP && unit == exam.UnitKPa:
		return exam.CodeIOPKPa
	case code == exam.CodeIOPCorr && unit == exam.UnitKPa:
		return exam.CodeIOPCorrKP
	case code == exam.CodeIOPKPa && unit == exam.UnitMMHg:
		return exam.CodeIOP
	case code == exam.CodeIOPCorrKP && unit == exam.UnitMMHg:
		return exam.CodeIOPCorr
	}
	return ""
}

func lengthExponent(unit string) (int, bool) {
	switch unit {
	case exam.UnitUM:
		return -6, true
	case exam.UnitMM:
		return -3, true
	case exam.UnitCM:
		return -2, true
	case "m":
		return 0, true
	}
	return 0, false
}

// foreignUnit is the unit of a code that is not ours, as sent; but the numbers of MDC mean nothing to a reader.
func (e *examiner) foreignUnit(f Field, assumed string) string {
	code := f.Component(1).Bytes()
	if string(f.Component(3).Bytes()) == "MDC" {
		if unit := e.rules.units[string(code)]; unit != "" {
			return unit
		}
	}
	if unit := e.value(code); unit != "" {
		return unit
	}
	if text := e.value(f.Component(2).Bytes()); text != "" {
		return text
	}
	return strings.TrimSpace(assumed)
}
