package nidekrs

import (
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// maxObservations is the most findings of one exam: no instrument comes near, and it bounds the memory of a forged frame.
const maxObservations = 2048

// Exam makes the exam of a frame of the kind Exam or Refractor, or the reject where it has no finding. The exam does not
// share memory with the frame, and is valid as exam.Validate understands it.
func (f *Frame) Exam() (*exam.Exam, *exam.Reject) {
	text := string(f.Raw)
	d := draft{exam: &exam.Exam{Observations: make([]exam.Observation, 0, min(len(text)/6+4, maxObservations))}}
	if f.Kind == Refractor {
		d.refractor(text)
	} else {
		if !f.Summed {
			d.exam.Warn(exam.WarnChecksumMissing)
		}
		d.measured(text)
	}
	var r exam.Reject
	switch {
	case d.full:
		r = f.refuse(exam.RejectTooLarge, "more findings than an exam can have")
	case !d.found:
		r = f.refuse(exam.RejectEmpty, "no finding in it")
	default:
		return d.exam, nil
	}
	return nil, &r
}

// draft is an exam in the making.
type draft struct {
	exam  *exam.Exam
	found bool // an observation that is a finding; numbers and distances are none
	full  bool // more than maxObservations
	seen  [64]uint64
}

// term is a word of the record with a small number for it, and its unit where it is a code.
type term struct {
	name, unit string
	id         uint32
}

// Codes with their units.
var (
	examNo         = term{exam.CodeExamNo, "", 1}
	systemNo       = term{exam.CodeSystemNo, "", 2}
	vertex         = term{exam.CodeVertexDistance, exam.UnitMM, 3}
	working        = term{exam.CodeWorkingDistance, exam.UnitCM, 4}
	sphere         = term{exam.CodeSphere, exam.UnitDioptre, 5}
	cylinder       = term{exam.CodeCylinder, exam.UnitDioptre, 6}
	axis           = term{exam.CodeAxis, exam.UnitDegree, 7}
	sphereDiff     = term{exam.CodeSphereDiff, exam.UnitDioptre, 8}
	cylinderDiff   = term{exam.CodeCylinderDiff, exam.UnitDioptre, 9}
	axisDiff       = term{exam.CodeAxisDiff, exam.UnitDegree, 10}
	addition       = term{exam.CodeAdd, exam.UnitDioptre, 11}
	addition2      = term{exam.CodeAdd2, exam.UnitDioptre, 12}
	nearSphere     = term{exam.CodeNearSphere, exam.UnitDioptre, 13}
	prismH         = term{exam.CodePrismH, exam.UnitPrism, 14}
	prismV         = term{exam.CodePrismV, exam.UnitPrism, 15}
	pd             = term{exam.CodePD, exam.UnitMM, 16}
	va             = term{exam.CodeVA, "", 17}
	vaExt          = term{exam.CodeVAExt, "", 18}
	vaPinhole      = term{exam.CodeVAPinhole, "", 19}
	k1             = term{exam.CodeK1, exam.UnitDioptre, 20}
	k2             = term{exam.CodeK2, exam.UnitDioptre, 21}
	kAvg           = term{exam.CodeKAvg, exam.UnitDioptre, 22}
	kCyl           = term{exam.CodeKCyl, exam.UnitDioptre, 23}
	kCylAxis       = term{exam.CodeKCylAxis, exam.UnitDegree, 24}
	k1Radius       = term{exam.CodeK1Radius, exam.UnitMM, 25}
	k2Radius       = term{exam.CodeK2Radius, exam.UnitMM, 26}
	kAvgRadius     = term{exam.CodeKAvgRad, exam.UnitMM, 27}
	k1Axis         = term{exam.CodeK1Axis, exam.UnitDegree, 28}
	cornealSize    = term{exam.CodeCornealSize, exam.UnitMM, 29}
	pupilSize      = term{exam.CodePupilSize, exam.UnitMM, 30}
	lamp           = term{exam.CodeLamp, "", 31}
	iop            = term{exam.CodeIOP, exam.UnitMMHg, 32}
	iopKPa         = term{exam.CodeIOPKPa, exam.UnitKPa, 33}
	cct            = term{exam.CodeCCT, exam.UnitUM, 34}
	confidence     = term{exam.CodeConfidence, "", 35}
	uv             = term{exam.CodeUVTransmittance, exam.UnitPercent, 36}
	failure        = term{exam.CodeError, "", 37}
	dominant       = term{exam.CodeDominantEye, "", 38}
	npc            = term{exam.CodeNPC, exam.UnitCM, 39}
	accommodation  = term{exam.CodeAccommodation, exam.UnitDioptre, 40}
	testTime       = term{exam.CodeTestTime, exam.UnitSecond, 41}
	age            = term{exam.CodeAge, exam.UnitYear, 42}
	divergenceBlur = term{exam.CodeDivergenceBlur, exam.UnitPrism, 43}
	divergenceBrk  = term{exam.CodeDivergenceBreak, exam.UnitPrism, 44}
	divergenceRec  = term{exam.CodeDivergenceRecovery, exam.UnitPrism, 45}
	convergeBlur   = term{exam.CodeConvergenceBlur, exam.UnitPrism, 46}
	convergeBrk    = term{exam.CodeConvergenceBreak, exam.UnitPrism, 47}
	convergeRec    = term{exam.CodeConvergenceRecovery, exam.UnitPrism, 48}
)

// Methods; the number has room for the two suffixes.
var (
	noMethod      = term{}
	autoref       = term{name: exam.MethodAutoref, id: 4}
	contactLens   = term{name: exam.MethodAutorefContactLens, id: 8}
	trialLens     = term{name: exam.MethodAutorefTrialLens, id: 12}
	autorefDiff   = term{name: exam.MethodAutorefDiff, id: 16}
	kerato        = term{name: exam.MethodKerato, id: 20}
	tono          = term{name: exam.MethodTono, id: 24}
	pachy         = term{name: exam.MethodPachy, id: 28}
	lensmeter     = term{name: exam.MethodLensmeter, id: 32}
	singleLens    = term{name: exam.MethodLensmeterSingle, id: 36}
	objective     = term{name: exam.MethodObjective, id: 40}
	subjective    = term{name: exam.MethodSubjective, id: 44}
	finalMethod   = term{name: exam.MethodFinal, id: 48}
	unaided       = term{name: exam.MethodUnaided, id: 52}
	refractorTest = term{name: exam.MethodRefractor, id: 56}
)

// as gives the method its suffixes.
func (t term) as(near, night bool) term {
	if near {
		t.name, t.id = t.name+exam.Near, t.id|1
	}
	if night {
		t.name, t.id = t.name+exam.Night, t.id|2
	}
	return t
}

// place is where in the exam a finding belongs, besides its code.
type place struct {
	eye    string
	method term
	seq    int
}

// put adds an observation. A second one of the same code and place keeps its value under the next free number, with a
// warning: which of the two is right is not for a parser to say.
func (d *draft) put(code term, p place, v exam.Value, sent string) {
	e := d.exam
	if len(e.Observations) == maxObservations {
		d.full = true
		return
	}
	bits, bit := d.seenAt(code, p)
	if *bits&bit != 0 {
		p.seq = d.free(code, p)
		bits, bit = d.seenAt(code, p)
	}
	*bits |= bit
	e.Observations = append(e.Observations, exam.Observation{
		Code: code.name, Eye: p.eye, Value: v, Unit: code.unit, Method: p.method.name, Seq: p.seq, Text: sent,
	})
	d.found = d.found || code.id > working.id
}

// seenAt is the bit of a code and place: one that is not set was not there yet, of one that is another may have set it.
func (d *draft) seenAt(code term, p place) (bits *uint64, bit uint64) {
	h := code.id*0x9e3779b1 ^ (p.method.id<<8|uint32(p.eye[0]))*0x85ebca6b ^ uint32(p.seq)*0xc2b2ae35
	return &d.seen[h>>26], 1 << (h >> 20 & 63)
}

// free is p.seq, or the next number where that is taken.
func (d *draft) free(code term, p place) int {
	next, taken := 0, false
	for i := range d.exam.Observations {
		o := &d.exam.Observations[i]
		if o.Code == code.name && o.Eye == p.eye && o.Method == p.method.name {
			taken = taken || o.Seq == p.seq
			next = max(next, o.Seq+1)
		}
	}
	if !taken {
		return p.seq
	}
	d.exam.Warn(exam.WarnDuplicate)
	return next
}

// number adds the number in a field. A field without a value adds nothing; one that is no number is broken.
func (d *draft) number(code term, p place, field string) {
	n, word := parse(field)
	switch word {
	case isNumber:
		d.put(code, p, exam.Number(n), asSent(field))
	case isBroken:
		d.exam.Warn(exam.WarnBrokenSegment)
	case isNothing:
	}
}

// text adds a field as it stands, without the blanks around it.
func (d *draft) text(code term, p place, field string) {
	if t := strings.Trim(field, " "); t != "" {
		sent := field
		if sent == t {
			sent = ""
		}
		d.put(code, p, exam.Text(t), sent)
	}
}

// broken warns where a segment is not as it should be, and says so.
func (d *draft) broken(yes bool) bool {
	if yes {
		d.exam.Warn(exam.WarnBrokenSegment)
	}
	return yes
}

// lens adds sphere, cylinder and axis: 6, 6 and 3 characters.
func (d *draft) lens(p place, s string) {
	if d.broken(len(s) < 15) {
		return
	}
	d.number(sphere, p, s[:6])
	d.number(cylinder, p, s[6:12])
	d.number(axis, p, s[12:15])
}

// base adds the amount of a prism whose base stands in a letter: I and U are +, O and D are -. Without a letter it keeps its
// own sign, with a warning.
func (d *draft) base(p place, amount string, letter byte, sent string) {
	n, word := parse(amount)
	if word != isNumber {
		d.broken(word == isBroken || letter != ' ')
		return
	}
	code := prismH
	switch letter {
	case 'U', 'D':
		code = prismV
	case 'I', 'O':
	default:
		d.broken(true)
		return
	}
	if letter == 'O' || letter == 'D' {
		n = -n
	}
	d.put(code, p, exam.Number(n), sent)
}

// What a field holds.
type word uint8

const (
	isNumber word = iota
	isNothing
	isBroken
)

// parse reads a number: a sign or none, blanks before and behind the sign and at the end, digits with a point or none. A
// field of blanks, dashes, points and question marks has no value.
func parse(s string) (n float64, w word) {
	i, whole, places, digits, point, minus := 0, uint64(0), 0, 0, false, false
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	for i < len(s) && s[i] == ' ' {
		i++
	}
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		minus = s[i] == '-'
		for i++; i < len(s) && s[i] == ' '; i++ {
		}
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c-'0' <= 9:
			whole = whole*10 + uint64(c-'0')
			if digits++; point {
				places++
			}
		case c == '.' && !point:
			point = true
		default:
			return 0, unread(s)
		}
		if digits > exam.MaxDigits {
			return 0, isBroken
		}
	}
	if digits == 0 {
		return 0, unread(s)
	}
	return value(whole, places, minus), isNumber
}

// value is exact as strconv.ParseFloat is: both numbers of the division are.
func value(whole uint64, places int, minus bool) float64 {
	n := float64(whole)
	if places > 0 {
		n /= tens[places]
	}
	if minus {
		n = -n
	}
	return n
}

var tens = [...]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// unread is what a field holds that is no number.
func unread(s string) word {
	if strings.Trim(s, " -.?") == "" {
		return isNothing
	}
	return isBroken
}

// asSent is the field where a reader could not tell it from its number, else empty.
func asSent(s string) string {
	t := s
	if len(t) > 1 && t[0] == '-' {
		if t = t[1:]; strings.Trim(t, "0.") == "" {
			return s
		}
	}
	switch {
	case t[0] < '0' || t[0] > '9', len(t) > 1 && t[0] == '0' && t[1] != '.', t[len(t)-1] == ' ':
		return s
	}
	if strings.IndexByte(t, '.') >= 0 && (t[len(t)-1] == '0' || t[len(t)-1] == '.') {
		return s
	}
	return ""
}
