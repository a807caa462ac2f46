package lineprofile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// maxMoment is how many bytes of date and time are joined.
const maxMoment = 64

// Codes of fields that are no observations.
const (
	codeSkip   = "skip"
	codeSign   = "sign"
	codeMoment = "taken_at"
)

// heads are the fields of an exam's head.
var heads = []string{
	codeSkip, codeSign, codeMoment, "patient.id", "patient.name", "patient.birth", "patient.sex",
	"device.make", "device.model", "device.serial",
}

// put adds the value of a field to the exam.
func (d *draft) put(r *Rule, f *Field, raw, eye string, seq int) {
	text := trim(raw)
	switch f.Code {
	case codeSkip:
		return
	case codeSign:
		d.sign = text
		return
	}
	if isNothing(text) || slices.Contains(f.None, text) {
		d.sign = ""
		return
	}
	if f.head {
		d.head(f.Code, text)
		return
	}
	d.e.Observations = append(d.e.Observations, exam.Observation{
		Code: f.Code, Method: first(f.Method, r.Method, d.method), Seq: f.Seq, Eye: d.eyeFor(f, eye), Unit: f.unit,
	})
	o := &d.e.Observations[len(d.e.Observations)-1]
	if o.Seq == 0 {
		o.Seq = seq
	}
	if slices.Contains(d.p.ErrorWords, text) {
		o.Code, o.Unit, o.Value = exam.CodeError, "", exam.Text(text)
	} else {
		o.Value = d.value(o, f, text)
	}
	d.sign = ""
	if !o.Value.Is(text) {
		o.Text = text
	}
	if f.Warn != "" {
		d.e.Warn(f.Warn)
	}
	d.found = d.found || !f.identifier || o.Code != f.Code
	bit := f.bit
	if o.Code != f.Code {
		bit = bitOf(o.Code)
	}
	if word := d.word(o); *word&bit != 0 {
		d.number(o)
	}
	*d.word(o) |= bit
}

// word has the bits of the codes that were at the place of o, or at one that has the same word.
func (d *draft) word(o *exam.Observation) *uint64 {
	h := uint32(len(o.Method))<<8 | uint32(o.Eye[0])
	if o.Method != "" {
		h |= uint32(o.Method[0]) << 16
	}
	return &d.seen[(h*0x9e3779b1^uint32(o.Seq)*0xc2b2ae35)>>26]
}

// bitOf is one of 64; few codes have the same.
func bitOf(code string) uint64 {
	h := uint32(0)
	for i := range len(code) {
		h = h*31 + uint32(code[i])
	}
	return 1 << (h % 64)
}

// number gives a second observation with the same key the next free number: which is right is not for a parser to say.
func (d *draft) number(o *exam.Observation) {
	before := d.e.Observations[:len(d.e.Observations)-1]
	taken, next := false, 0
	for i := range before {
		if p := &before[i]; p.Eye == o.Eye && p.Code == o.Code && p.Method == o.Method {
			taken = taken || p.Seq == o.Seq
			next = max(next, p.Seq+1)
		}
	}
	if taken {
		o.Seq = next
		d.e.Warn(exam.WarnDuplicate)
	}
}

// eyeFor is the eye of a field: its own, the rule's, the one that holds.
func (d *draft) eyeFor(f *Field, eye string) string {
	switch f.Eye {
	case "":
		return first(eye, d.eye)
	case "first", "second":
		if !d.p.confirmed {
			d.e.Warn(exam.WarnEyeOrderUnconfirmed)
		}
		if (f.Eye == "first") == (d.p.EyeOrder == "left") {
			return exam.Left
		}
		return exam.Right
	}
	return f.Eye
}

// value is the number in a text, or the text. It gives o the code for letters that were right or wrong (0.8+2).
func (d *draft) value(o *exam.Observation, f *Field, text string) exam.Value {
	if f.identifier {
		return exam.Text(text)
	}
	digits := decimal(text)
	if f.Code == exam.CodeVA && strings.LastIndexAny(digits, "+-") > 0 {
		o.Code = exam.CodeVAExt
		return exam.Text(strings.ReplaceAll(digits, " ", ""))
	}
	v := exam.ParseValue(f.Code, digits)
	if !v.IsNumber() {
		return exam.Text(text)
	}
	if f.shift != 0 {
		scaled, err := strconv.ParseFloat(digits+"e"+strconv.Itoa(f.shift), 64) // exact, where a multiplication would not be
		if err != nil {
			return exam.Text(text)
		}
		v = exam.Number(scaled)
	}
	if n, _ := v.Float(); d.sign != "" && strings.ContainsAny(d.sign[:1], "-oOdD") { // base out and down
		v = exam.Number(-n)
	}
	return v
}

// head keeps a field of the exam's head.
func (d *draft) head(code, text string) {
	e := d.e
	switch code {
	case codeMoment:
		if len(d.moment) <= maxMoment {
			d.moment = strings.TrimLeft(d.moment+" "+text, " ")
		}
	case "patient.id":
		e.Patient.ID = text
	case "patient.name":
		e.Patient.Name = strings.Join(strings.Fields(text), " ")
	case "patient.birth":
		birth, ok := moment(d.p.Date, text)
		d.unknown = d.unknown || !ok
		e.Patient.Birth, _, _ = strings.Cut(birth, "T")
	case "patient.sex":
		e.Patient.Sex = sexOf(text)
	case "device.make":
		e.Device.Make = text
	case "device.model":
		e.Device.Model = text
	case "device.serial":
		e.Device.Serial = text
	}
}

// finish completes the exam, or says why it is none.
func (d *draft) finish() fault {
	if !d.found {
		return fault{exam.RejectEmpty, "no finding that the profile knows"}
	}
	if d.moment != "" {
		at, ok := moment(d.p.Date, d.moment)
		d.e.TakenAt, d.unknown = at, d.unknown || !ok
	}
	if d.unknown {
		d.e.Warn(exam.WarnUnknownSegment)
	}
	return fault{}
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// trim is s without the blanks and tabs around it.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isNothing says that a field was sent without a value: blank, or dashes and points ("--.-", "---").
func isNothing(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case '-', '.', ' ', '\t':
		default:
			return false
		}
	}
	return true
}

// decimal makes the point of a lone decimal comma and drops blanks after a sign.
func decimal(s string) string {
	if len(s) > 1 && s[1] == ' ' && (s[0] == '+' || s[0] == '-') {
		s = s[:1] + strings.TrimLeft(s[1:], " ")
	}
	if at := strings.IndexByte(s, ','); at >= 0 && !strings.ContainsAny(s[at+1:], ",.") && strings.IndexByte(s[:at], '.') < 0 {
		s = s[:at] + "." + s[at+1:]
	}
	return s
}

func eyeOf(s string) string {
	switch strings.ToUpper(s) {
	case "R", "OD":
		return exam.Right
	case "L", "OS":
		return exam.Left
	case "B", "OU":
		return exam.Both
	}
	return ""
}

func sexOf(s string) string {
	switch strings.ToLower(s) {
	case "m", "male", "1":
		return "M"
	case "f", "female", "2":
		return "F"
	}
	return "O"
}

// tokens of a date's form; each is as long as its number has digits.
var tokens = [...]string{"YYYY", "YY", "MM", "DD", "hh", "mm", "ss"}

// token is the index of the token at the beginning of the form, or -1.
func token(form string) int {
	for i, t := range tokens {
		if form[0] == t[0] && strings.HasPrefix(form, t) {
			return i
		}
	}
	return -1
}

// moment reads a date, and a time of day where there is one, in the form that the profile names, as ISO 8601. A digit in
// front may be blank ("2025/ 3/ 4") or missing ("2025/3/4").
func moment(form, text string) (iso string, ok bool) {
	n := [len(tokens)]int{-1, -1, -1, -1, -1, -1, -1}
	for form != "" && text != "" {
		t := token(form)
		if t < 0 {
			if form[0] != text[0] {
				return "", false
			}
			form, text = form[1:], text[1:]
			continue
		}
		width, at := len(tokens[t]), 0
		for at < width-1 && at < len(text) && text[at] == ' ' {
			at++
		}
		n[t] = 0
		for at < width && at < len(text) && text[at] >= '0' && text[at] <= '9' {
			n[t] = n[t]*10 + int(text[at]-'0')
			at++
		}
		if at < width && t == 0 {
			return "", false
		}
		form, text = form[width:], text[at:]
	}
	year, month, day, hour, minute, second := n[0], n[2], n[3], n[4], n[5], n[6]
	if n[1] >= 0 {
		year = 2000 + n[1]
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if text != "" || year < 0 || date.Year() != year || date.Month() != time.Month(month) || date.Day() != day ||
		hour >= 0 && (hour > 23 || minute < 0 || minute > 59 || second > 59) {
		return "", false
	}
	b := digits(make([]byte, 0, 19), year, 4)
	b = digits(append(b, '-'), month, 2)
	b = digits(append(b, '-'), day, 2)
	if hour < 0 {
		return string(b), true
	}
	b = digits(append(b, 'T'), hour, 2)
	b = digits(append(b, ':'), minute, 2)
	if second >= 0 {
		b = digits(append(b, ':'), second, 2)
	}
	return string(b), true
}

// digits writes the last digits of n, 2 or 4.
func digits(b []byte, n, width int) []byte {
	for unit := [...]int{2: 10, 4: 1000}[width]; unit > 0; unit /= 10 {
		b = append(b, '0'+byte(n/unit%10))
	}
	return b
}
