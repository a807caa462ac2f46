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
	text := strings.Trim(raw, " \t")
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
	if slices.Contains(heads, f.Code) {
		d.head(f.Code, text)
		return
	}
	o := exam.Observation{Code: f.Code, Method: first(f.Method, r.Method, d.method), Seq: f.Seq, Eye: d.eyeFor(f, eye)}
	if o.Seq == 0 {
		o.Seq = seq
	}
	if f.Unit != nil {
		o.Unit = *f.Unit
	} else {
		o.Unit, _ = exam.UnitOf(f.Code)
	}
	if slices.Contains(d.p.ErrorWords, text) {
		o.Code, o.Unit, o.Value = exam.CodeError, "", exam.Text(text)
	} else {
		o.Value = d.value(&o, f, text)
	}
	d.sign = ""
	if o.Value.String() != text {
		o.Text = text
	}
	if f.Warn != "" {
		d.e.Warn(f.Warn)
	}
	d.found = d.found || !exam.IsIdentifier(o.Code)
	d.add(o)
}

// add keeps a second observation with the same key under the next free number: which is right is not for a parser to say.
func (d *draft) add(o exam.Observation) {
	taken, next := false, 0
	for i := range d.e.Observations {
		if p := &d.e.Observations[i]; p.Eye == o.Eye && p.Code == o.Code && p.Method == o.Method {
			taken = taken || p.Seq == o.Seq
			next = max(next, p.Seq+1)
		}
	}
	if taken {
		o.Seq = next
		d.e.Warn(exam.WarnDuplicate)
	}
	d.e.Observations = append(d.e.Observations, o)
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
	if exam.IsIdentifier(f.Code) {
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
func (d *draft) finish() error {
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
	return nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// isNothing says that a field was sent without a value: blank, or dashes and points ("--.-", "---").
func isNothing(s string) bool { return strings.Trim(s, "-. \t") == "" }

// decimal makes the point of a lone decimal comma and drops blanks after a sign.
func decimal(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[:1] + strings.TrimLeft(s[1:], " ")
	}
	if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
		s = strings.Replace(s, ",", ".", 1)
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

// tokens of a date's form, and how many digits each has.
var tokens = []string{"YYYY", "YY", "MM", "DD", "hh", "mm", "ss"}

func token(form string) string {
	for _, t := range tokens {
		if strings.HasPrefix(form, t) {
			return t
		}
	}
	return ""
}

// moment reads a date, and a time of day where there is one, in the form that the profile names, as ISO 8601. A digit in
// front may be blank ("2025/ 3/ 4") or missing ("2025/3/4").
func moment(form, text string) (iso string, ok bool) {
	at := map[string]string{}
	for form != "" && text != "" {
		t := token(form)
		if t == "" {
			if form[0] != text[0] {
				return "", false
			}
			form, text = form[1:], text[1:]
			continue
		}
		n := 0
		for n < len(t)-1 && n < len(text) && text[n] == ' ' {
			n++
		}
		from := n
		for n < len(t) && n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		if n < len(t) && t == "YYYY" {
			return "", false
		}
		at[t] = strings.Repeat("0", max(0, len(t)-(n-from))) + text[from:n]
		form, text = form[len(t):], text[n:]
	}
	if yy := at["YY"]; yy != "" {
		at["YYYY"] = "20" + yy
	}
	iso, layout := at["YYYY"]+"-"+at["MM"]+"-"+at["DD"], time.DateOnly
	if at["hh"] != "" {
		iso, layout = iso+"T"+at["hh"]+":"+at["mm"], layout+"T15:04"
		if at["ss"] != "" {
			iso, layout = iso+":"+at["ss"], layout+":05"
		}
	}
	if _, err := time.Parse(layout, iso); err != nil || text != "" {
		return "", false
	}
	return iso, true
}
