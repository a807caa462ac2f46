package nidekrs

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// maxObservations is the most findings of one exam: no instrument comes near, and it bounds the memory of a forged frame.
const maxObservations = 2048

// Reader makes exams of frames. The zero Reader is ready; one that is kept does not allocate anew for each exam.
type Reader struct {
	draft draft
	exam  exam.Exam
}

// Read makes the exam of a frame of the kind Exam or Refractor, or the reject where it has no finding. The exam is the
// Reader's own until it is asked again; its texts do not share memory with the frame. It is valid as exam.Validate
// understands it.
func (r *Reader) Read(f *Frame) (*exam.Exam, *exam.Reject) {
	text := string(f.Raw)
	list := r.exam.Observations[:0]
	if list == nil {
		list = make([]exam.Observation, 0, min(len(text)/6+4, maxObservations))
	}
	r.exam = exam.Exam{Observations: list}
	r.draft = draft{exam: &r.exam}
	if f.Kind == Refractor {
		r.draft.refractor(text)
	} else {
		if !f.Summed {
			r.exam.Warn(exam.WarnChecksumMissing)
		}
		r.draft.measured(text)
	}
	if r.draft.full {
		why := f.refuse(exam.RejectTooLarge, "more findings than an exam can have")
		return nil, &why
	}
	if !r.draft.found {
		why := f.refuse(exam.RejectEmpty, "no finding in it")
		return nil, &why
	}
	return &r.exam, nil
}

// draft is an exam in the making.
type draft struct {
	exam  *exam.Exam
	found bool       // an observation that is a finding; numbers and distances are none
	full  bool       // more than maxObservations
	spare exam.Value // of those
	seen  [256]uint64
}

// code is a word of the record for what was found.
type code uint8

// Codes; the first ones are no findings, the last ones the refractor's own words for tests that the record has none for.
const (
	examNo code = iota
	systemNo
	vertex
	working
	sphere
	cylinder
	axis
	sphereDiff
	cylinderDiff
	axisDiff
	addition
	addition2
	nearSphere
	prismH
	prismV
	pd
	va
	vaExt
	vaPinhole
	k1
	k2
	kAvg
	kCyl
	kCylAxis
	k1Radius
	k2Radius
	kAvgRadius
	k1Axis
	cornealSize
	pupilSize
	lamp
	iop
	iopKPa
	cct
	confidence
	uv
	failure
	dominant
	npc
	accommodation
	testTime
	age
	divergenceBlur
	divergenceBrk
	divergenceRec
	convergeBlur
	convergeBrk
	convergeRec
	ownNA
	ownPA
	ownFW
	ownSC
	ownAN
	ownAH
	ownCG
	ownET
	ownAC
	ownSH
	ownPE
	ownMG
	ownNumber
	ownCP
	ownAP
)

var codes = [...]struct{ name, unit string }{
	examNo:         {exam.CodeExamNo, ""},
	systemNo:       {exam.CodeSystemNo, ""},
	vertex:         {exam.CodeVertexDistance, exam.UnitMM},
	working:        {exam.CodeWorkingDistance, exam.UnitCM},
	sphere:         {exam.CodeSphere, exam.UnitDioptre},
	cylinder:       {exam.CodeCylinder, exam.UnitDioptre},
	axis:           {exam.CodeAxis, exam.UnitDegree},
	sphereDiff:     {exam.CodeSphereDiff, exam.UnitDioptre},
	cylinderDiff:   {exam.CodeCylinderDiff, exam.UnitDioptre},
	axisDiff:       {exam.CodeAxisDiff, exam.UnitDegree},
	addition:       {exam.CodeAdd, exam.UnitDioptre},
	addition2:      {exam.CodeAdd2, exam.UnitDioptre},
	nearSphere:     {exam.CodeNearSphere, exam.UnitDioptre},
	prismH:         {exam.CodePrismH, exam.UnitPrism},
	prismV:         {exam.CodePrismV, exam.UnitPrism},
	pd:             {exam.CodePD, exam.UnitMM},
	va:             {exam.CodeVA, ""},
	vaExt:          {exam.CodeVAExt, ""},
	vaPinhole:      {exam.CodeVAPinhole, ""},
	k1:             {exam.CodeK1, exam.UnitDioptre},
	k2:             {exam.CodeK2, exam.UnitDioptre},
	kAvg:           {exam.CodeKAvg, exam.UnitDioptre},
	kCyl:           {exam.CodeKCyl, exam.UnitDioptre},
	kCylAxis:       {exam.CodeKCylAxis, exam.UnitDegree},
	k1Radius:       {exam.CodeK1Radius, exam.UnitMM},
	k2Radius:       {exam.CodeK2Radius, exam.UnitMM},
	kAvgRadius:     {exam.CodeKAvgRad, exam.UnitMM},
	k1Axis:         {exam.CodeK1Axis, exam.UnitDegree},
	cornealSize:    {exam.CodeCornealSize, exam.UnitMM},
	pupilSize:      {exam.CodePupilSize, exam.UnitMM},
	lamp:           {exam.CodeLamp, ""},
	iop:            {exam.CodeIOP, exam.UnitMMHg},
	iopKPa:         {exam.CodeIOPKPa, exam.UnitKPa},
	cct:            {exam.CodeCCT, exam.UnitUM},
	confidence:     {exam.CodeConfidence, ""},
	uv:             {exam.CodeUVTransmittance, exam.UnitPercent},
	failure:        {exam.CodeError, ""},
	dominant:       {exam.CodeDominantEye, ""},
	npc:            {exam.CodeNPC, exam.UnitCM},
	accommodation:  {exam.CodeAccommodation, exam.UnitDioptre},
	testTime:       {exam.CodeTestTime, exam.UnitSecond},
	age:            {exam.CodeAge, exam.UnitYear},
	divergenceBlur: {exam.CodeDivergenceBlur, exam.UnitPrism},
	divergenceBrk:  {exam.CodeDivergenceBreak, exam.UnitPrism},
	divergenceRec:  {exam.CodeDivergenceRecovery, exam.UnitPrism},
	convergeBlur:   {exam.CodeConvergenceBlur, exam.UnitPrism},
	convergeBrk:    {exam.CodeConvergenceBreak, exam.UnitPrism},
	convergeRec:    {exam.CodeConvergenceRecovery, exam.UnitPrism},
	ownNA:          {"NA", ""},
	ownPA:          {"PA", ""},
	ownFW:          {"FW", ""},
	ownSC:          {"SC", ""},
	ownAN:          {"AN", ""},
	ownAH:          {"AH", ""},
	ownCG:          {"CG", ""},
	ownET:          {"ET", ""},
	ownAC:          {"AC", ""},
	ownSH:          {"SH", ""},
	ownPE:          {"PE", ""},
	ownMG:          {"MG", ""},
	ownNumber:      {"#1", ""},
	ownCP:          {"CP", ""},
	ownAP:          {"AP", ""},
}

// method is a word of the record for how it was found; the two lowest bits are its suffixes.
type method uint8

const (
	noMethod method = iota << 2
	autoref
	contactLens
	trialLens
	autorefDiff
	kerato
	tono
	pachy
	lensmeter
	singleLens
	objective
	subjective
	finalMethod
	unaided
	refractorTest

	near  method = 1
	night method = 2
)

var methods = suffixed([...]string{
	"",
	exam.MethodAutoref,
	exam.MethodAutorefContactLens,
	exam.MethodAutorefTrialLens,
	exam.MethodAutorefDiff,
	exam.MethodKerato,
	exam.MethodTono,
	exam.MethodPachy,
	exam.MethodLensmeter,
	exam.MethodLensmeterSingle,
	exam.MethodObjective,
	exam.MethodSubjective,
	exam.MethodFinal,
	exam.MethodUnaided,
	exam.MethodRefractor,
})

// suffixed gives each method its forms: plain, near, night, near and night.
func suffixed(plain [15]string) (all [4 * 15]string) {
	for i, name := range plain {
		all[4*i], all[4*i+1], all[4*i+2], all[4*i+3] = name, name+exam.Near, name+exam.Night, name+exam.Near+exam.Night
	}
	return all
}

// as gives the method its suffixes.
func (m method) as(isNear, atNight bool) method {
	if isNear {
		m |= near
	}
	if atNight {
		m |= night
	}
	return m
}

// eye is one of exam's letters.
type eye uint8

const (
	left eye = iota
	right
	both
)

var eyes = [...]string{left: exam.Left, right: exam.Right, both: exam.Both}

// place is where in the exam a finding belongs, besides its code.
type place struct {
	eye    eye
	method method
	seq    int
}

// put adds an observation, and gives the place of its value to be filled in. A second one of the same code and place keeps its
// value under the next free number, with a warning: which of the two is right is not for a parser to say.
func (d *draft) put(c code, p place, sent string) *exam.Value {
	e := d.exam
	n := len(e.Observations)
	if n == maxObservations {
		d.full = true
		return &d.spare
	}
	word, bit := d.seenAt(c, p)
	if *word&bit != 0 {
		p.seq = d.free(c, p)
		word, bit = d.seenAt(c, p)
	}
	*word |= bit
	if n == cap(e.Observations) {
		e.Observations = slices.Grow(e.Observations, 1)
	}
	e.Observations = e.Observations[:n+1]
	o := &e.Observations[n]
	fill(o, c, eyes[p.eye], methods[p.method], p.seq, sent)
	d.found = d.found || c > working
	return &o.Value
}

func fill(o *exam.Observation, c code, eye, method string, seq int, sent string) {
	k := &codes[c]
	o.Code, o.Unit, o.Eye, o.Method, o.Seq, o.Text, o.Flags = k.name, k.unit, eye, method, seq, sent, nil
}

// seenAt is the bit of a code and place: one that is not set was not there yet, of one that is another may have set it, such as
// that of the fifth shot.
func (d *draft) seenAt(c code, p place) (word *uint64, bit uint64) {
	return &d.seen[bits.RotateLeft8(uint8(p.method), -1)+uint8(p.eye)<<5+uint8(p.seq)<<6], 1 << c
}

// A code has a bit in a word.
const _ = uint(63 - ownAP)

// free is p.seq, or the next number where that is taken.
func (d *draft) free(c code, p place) int {
	next, taken := 0, false
	for i := range d.exam.Observations {
		o := &d.exam.Observations[i]
		if o.Code == codes[c].name && o.Eye == eyes[p.eye] && o.Method == methods[p.method] {
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
func (d *draft) number(c code, p place, field string) {
	n, word, plain := parse(field)
	if d.broken(word == isBroken) || word == isNothing {
		return
	}
	if plain {
		field = ""
	}
	*d.put(c, p, field) = exam.Number(n)
}

// text adds a field as it stands, without the blanks around it.
func (d *draft) text(c code, p place, field string) {
	if t := strings.Trim(field, " "); t != "" {
		sent := field
		if sent == t {
			sent = ""
		}
		*d.put(c, p, sent) = exam.Text(t)
	}
}

// broken warns where a segment is not as it should be, and says so.
func (d *draft) broken(yes bool) bool {
	if yes {
		d.exam.Warn(exam.WarnBrokenSegment)
	}
	return yes
}

// field is a number in columns; without a width it goes to the end.
type field struct {
	code  code
	width int
}

var lensFields = []field{{sphere, 6}, {cylinder, 6}, {axis, 3}}

// lens adds sphere, cylinder and axis.
func (d *draft) lens(p place, s string) {
	if !d.broken(len(s) < 15) {
		d.numbers(p, s, lensFields)
	}
}

// numbers adds the numbers of fields that stand behind each other. What is missing at the end has no value.
func (d *draft) numbers(p place, s string, list []field) {
	e, eye, method := d.exam, eyes[p.eye], methods[p.method]
	seen, _ := d.seenAt(0, p)
	for _, f := range list {
		text := s
		if f.width > 0 {
			text = s[:min(f.width, len(s))]
		}
		s = s[len(text):]
		v, plain, ok := column(text)
		n := len(e.Observations)
		if !ok || *seen>>f.code&1 != 0 || n == cap(e.Observations) || n == maxObservations {
			d.number(f.code, p, text)
			continue
		}
		*seen |= 1 << f.code // it is what most of them are, and there is room: the short way
		if plain {
			text = ""
		}
		e.Observations = e.Observations[:n+1]
		o := &e.Observations[n]
		fill(o, f.code, eye, method, p.seq, text)
		o.Value = exam.Number(v)
		d.found = true
	}
}

// base adds the amount of a prism whose base stands in a letter: I and U are +, O and D are -. Without a letter it keeps its
// own sign, with a warning.
func (d *draft) base(p place, amount string, letter byte, sent string) {
	n, word, _ := parse(amount)
	if word != isNumber {
		d.broken(word == isBroken || letter != ' ')
		return
	}
	c := prismH
	switch letter {
	case 'U', 'D':
		c = prismV
	case 'I', 'O':
	default:
		d.broken(true)
		return
	}
	if letter == 'O' || letter == 'D' {
		n = -n
	}
	*d.put(c, p, sent) = exam.Number(n)
}
