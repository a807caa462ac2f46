package lineprofile

import (
	"math"
	"slices"
	"strings"

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

// orders are the words for the two eyes in their order, which EyeOrder tells.
var orders = [2]string{"first", "second"}

// heads are the fields of an exam's head.
var heads = []string{
	codeSkip, codeSign, codeMoment, "patient.id", "patient.name", "patient.birth", "patient.sex",
	"device.make", "device.model", "device.serial",
}

// put adds the value of a field to the exam.
func (d *draft) put(f *Field, raw, eye string, seq int) {
	text := trim(raw)
	switch {
	case !f.head:
	case f.Code == codeSkip:
		return
	case f.Code == codeSign:
		d.sign = text
		return
	}
	if isNothing(text) || len(f.None) > 0 && slices.Contains(f.None, text) {
		d.sign = ""
		return
	}
	if f.head {
		d.head(f.Code, text)
		return
	}
	o := d.add()
	o.Code, o.Unit, o.Eye, o.Method, o.Seq, o.Text, o.Flags = f.Code, f.unit, d.eyeFor(f, eye), f.method, f.Seq, "", nil
	if o.Method == "" {
		o.Method = d.method
	}
	if o.Seq == 0 {
		o.Seq = seq
	}
	d.value(o, f, text)
	d.sign = ""
	if f.Warn != "" {
		d.warn(f.Warn)
	}
	bit := f.bit
	if o.Code != f.Code {
		bit = d.p.bitOf(o.Code)
	}
	d.found = d.found || !f.identifier || o.Code != f.Code
	word := d.word(o)
	if *word&bit != 0 {
		d.number(o)
		word = d.word(o)
	}
	*word |= bit
}

// add is a place for one more observation; what it had before is still in it.
func (d *draft) add() *exam.Observation {
	list := &d.e.Observations
	if len(*list) == cap(*list) {
		*list = slices.Grow(*list, 1)
	}
	*list = (*list)[:len(*list)+1]
	return &(*list)[len(*list)-1]
}

// word has the bits of the codes that were at the place of o, or at one that has the same word.
func (d *draft) word(o *exam.Observation) *uint64 {
	h := uint32(len(o.Method))<<8 | uint32(o.Eye[0])
	if o.Method != "" {
		h |= uint32(o.Method[0]) << 16
	}
	return &d.seen[(h*0x9e3779b1^uint32(o.Seq)*0xc2b2ae35)>>26]
}

// bitOf is the bit of a code of the profile; where it has more than 64, some have the same.
func (p *Profile) bitOf(code string) uint64 { return 1 << (slices.Index(p.codes, code) & 63) }

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
		d.warn(exam.WarnDuplicate)
	}
}

// eyeFor is the eye of a field: its own, the rule's, the one that holds.
func (d *draft) eyeFor(f *Field, eye string) string {
	switch {
	case f.order > 0:
		if !d.p.confirmed && !d.ordered {
			d.ordered = true
			d.warn(exam.WarnEyeOrderUnconfirmed)
		}
		return d.p.eyes[f.order-1]
	case f.Eye != "":
		return f.Eye
	case eye != "":
		return eye
	}
	return d.eye
}

// warn is d.e.Warn, in the room that the Reader has.
func (d *draft) warn(word string) {
	if d.e.Warnings == nil {
		d.e.Warnings = d.warnings[:0]
	}
	d.e.Warn(word)
}

// value gives o the number in a text, or the text; and the code for a word that says that the shot has failed, or for letters
// that were right or wrong (0.8+2).
func (d *draft) value(o *exam.Observation, f *Field, text string) {
	switch {
	case len(d.p.ErrorWords) > 0 && slices.Contains(d.p.ErrorWords, text):
		o.Code, o.Unit, o.Value = exam.CodeError, "", exam.Text(text)
		return
	case f.identifier:
		o.Value = exam.Text(text)
		return
	}
	n, plain, ok := decimal(text, f.shift)
	if !ok {
		o.Value = exam.Text(text)
		if f.Code == exam.CodeVA {
			letters(o, text)
		}
		return
	}
	if d.sign != "" && n != 0 && strings.IndexByte("-oOdD", d.sign[0]) >= 0 { // base out and down
		n, plain = -n, false
	}
	if o.Value = exam.Number(n); !plain {
		o.Text = text
	}
}

// letters makes of an acuity with letters that were right or wrong what the record keeps for it.
func letters(o *exam.Observation, text string) {
	if word := pointed(text); strings.LastIndexAny(word, "+-") > 0 {
		word = strings.ReplaceAll(word, " ", "")
		if o.Code, o.Value = exam.CodeVAExt, exam.Text(word); word != text {
			o.Text = text
		}
	}
}

// head keeps a field of the exam's head.
func (d *draft) head(code, text string) {
	e := d.e
	switch code {
	case codeMoment:
		if len(d.moment) <= maxMoment {
			if d.moment != "" {
				text = d.moment + " " + text
			}
			d.moment = text
		}
	case "patient.id":
		e.Patient.ID = text
	case "patient.name":
		e.Patient.Name = strings.Join(strings.Fields(text), " ")
	case "patient.birth":
		birth, ok := moment(d.p.form, text)
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
		at, ok := moment(d.p.form, d.moment)
		d.e.TakenAt, d.unknown = at, d.unknown || !ok
	}
	if d.unknown {
		d.warn(exam.WarnUnknownSegment)
	}
	return fault{}
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

// decimal reads a sign or none, blanks behind it, and at most exam.MaxDigits digits with one point or comma or none, and shifts the
// point. Plain says that s is the number's own text. It is exact, as strconv.ParseFloat is: both numbers of the one operation are.
func decimal(s string, shift int) (n float64, plain, ok bool) {
	number := s
	minus := s != "" && s[0] == '-'
	if minus || s != "" && s[0] == '+' {
		number = unblank(s[1:])
	}
	whole, point := uint64(0), -1
	for i := range len(number) {
		c := number[i] - '0'
		if c <= 9 {
			whole = whole*10 + uint64(c)
			continue
		}
		if point >= 0 || number[i] != '.' && number[i] != ',' {
			return 0, false, false
		}
		point = i
	}
	digits, places := len(number), 0
	if point >= 0 {
		digits--
		places = digits - point
	}
	if digits == 0 || digits > exam.MaxDigits {
		return 0, false, false
	}
	if n = float64(whole); places >= shift {
		n /= tens[places-shift]
	} else {
		n *= tens[shift-places]
	}
	size := len(number)
	if minus {
		n = -n
		if whole > 0 {
			size++
		}
	}
	plain = size == len(s) && point != 0 && (number[0] != '0' || point == 1 || digits == 1) &&
		(point < 0 || number[point] == '.' && places > 0 && number[len(number)-1] != '0') &&
		(whole == 0 || shift == 0 && math.Abs(n) >= 1e-6) // below that it has an exponent
	return n, plain, true
}

var tens = [...]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// The most places that a number can have, and then be shifted by.
const _ = uint(len(tens) - 1 - exam.MaxDigits - 4)

// pointed makes the point of a lone decimal comma and drops blanks after a sign.
func pointed(s string) string {
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

// formOf makes ready the form of a date: indexes of tokens, and what is between them as letters below 0.
func formOf(date string) (form []int) {
	for date != "" {
		t, size := token(date), 1
		if t < 0 {
			form = append(form, -1-int(date[0]))
		} else {
			form = append(form, t)
			size = len(tokens[t])
		}
		date = date[size:]
	}
	return form
}

// moment reads a date, and a time of day where there is one, in the form that the profile names, as ISO 8601. A digit in
// front may be blank ("2025/ 3/ 4") or missing ("2025/3/4").
func moment(form []int, text string) (iso string, ok bool) {
	n := [len(tokens)]int{-1, -1, -1, -1, -1, -1, -1}
	for _, t := range form {
		if text == "" {
			break
		}
		if t < 0 {
			if int(text[0]) != -1-t {
				return "", false
			}
			text = text[1:]
			continue
		}
		width, at := len(tokens[t]), 0
		for at < width-1 && at < len(text) && text[at] == ' ' {
			at++
		}
		number := 0
		for at < width && at < len(text) && text[at]-'0' <= 9 {
			number = number*10 + int(text[at]-'0')
			at++
		}
		if at < width && t == 0 {
			return "", false
		}
		n[t], text = number, text[at:]
	}
	year, month, day, hour, minute, second := n[0], n[2], n[3], n[4], n[5], n[6]
	if n[1] >= 0 {
		year = 2000 + n[1]
	}
	if text != "" || year < 0 || month < 1 || month > 12 || day < 1 || day > daysOf(year, month) ||
		hour >= 0 && (hour > 23 || minute < 0 || minute > 59 || second > 59) {
		return "", false
	}
	all := [...]byte{
		digit(year / 1000), digit(year / 100), digit(year / 10), digit(year), '-', digit(month / 10), digit(month), '-', digit(day / 10), digit(day),
		'T', digit(hour / 10), digit(hour), ':', digit(minute / 10), digit(minute), ':', digit(second / 10), digit(second),
	}
	size := len(all)
	switch {
	case hour < 0:
		size = len("2006-01-02")
	case second < 0:
		size = len("2006-01-02T15:04")
	}
	return string(all[:size]), true
}

func digit(n int) byte { return '0' + byte(n%10) }

// daysOf is how many days the month has.
func daysOf(year, month int) int {
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 29
	}
	return [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
}
