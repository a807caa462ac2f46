package exam

import (
	"strconv"
	"strings"
)

// decodeOwn reads exactly what Append writes, for a tenth of what encoding/json takes: its keys in their order, no
// blanks, texts without escapes. It says false for everything else, and means nothing by it: data may be as good. The
// texts of the exam share data.
func decodeOwn(data string) (*Exam, bool) {
	r := reader{rest: data}
	e := &Exam{}
	e.Patient.ID = r.text(`{"patient":{"id":`)
	e.Patient.Name = r.text(`,"name":`)
	e.Patient.Birth = r.text(`,"birth":`)
	e.Patient.Sex = r.text(`,"sex":`)
	e.Device.Make = r.text(`},"device":{"make":`)
	e.Device.Model = r.text(`,"model":`)
	e.Device.Serial = r.text(`,"serial":`)
	e.TakenAt = r.text(`},"taken_at":`)
	r.want(`,"observations":[`)
	e.Observations = make([]Observation, 0, strings.Count(r.rest, `{"code":`))
	for first := true; !r.other && !r.took(`]`); first = false {
		if !first {
			r.want(`,`)
		}
		e.Observations = append(e.Observations, r.observation())
	}
	e.Warnings = r.texts(`,"warnings":[`)
	r.want(`}`)
	return e, !r.other && r.rest == ""
}

// reader goes through what Append wrote.
type reader struct {
	rest  string
	other bool // it is something else
}

func (r *reader) observation() (o Observation) {
	o.Code = r.text(`{"code":`)
	o.Eye = r.text(`,"eye":`)
	r.want(`,"value":`)
	if strings.HasPrefix(r.rest, `"`) {
		o.Value = Text(r.text(""))
	} else {
		o.Value = r.number()
	}
	o.Unit = r.text(`,"unit":`)
	o.Method = r.text(`,"method":`)
	r.want(`,"seq":`)
	o.Seq = r.natural()
	if strings.HasPrefix(r.rest, `,"text"`) {
		o.Text = r.text(`,"text":`)
	}
	o.Flags = r.texts(`,"flags":[`)
	r.want(`}`)
	return o
}

func (r *reader) took(s string) bool {
	rest, ok := strings.CutPrefix(r.rest, s)
	r.rest = rest
	return ok
}

func (r *reader) want(s string) {
	if !r.took(s) {
		r.other = true
	}
}

// text reads a key, as it stands there with what is around it, and its text.
func (r *reader) text(key string) string {
	if r.want(key); !r.took(`"`) {
		r.other = true
		return ""
	}
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s
		case c == '\\', c < ' ':
			r.other = true
			return ""
		}
	}
	r.other = true
	return ""
}

// texts reads a list that has a text at least, if it is there.
func (r *reader) texts(key string) (list []string) {
	if !r.took(key) {
		return nil
	}
	for {
		list = append(list, r.text(""))
		if r.other || r.took(`]`) {
			return list
		}
		r.want(`,`)
	}
}

// number reads a plain decimal.
func (r *reader) number() Value {
	s := r.rest
	n := len(s) - len(strings.TrimLeft(s, "-0123456789."))
	if s = s[:n]; !jsonDecimal(s) {
		r.other = true
		return Value{}
	}
	f, err := strconv.ParseFloat(s, 64)
	r.other = r.other || err != nil
	r.rest = r.rest[n:]
	return Number(f)
}

// jsonDecimal says whether s is a number of JSON without an exponent.
func jsonDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	return whole != "" && digits(whole) && (whole[0] != '0' || len(whole) == 1) && (!point || fraction != "" && digits(fraction))
}

func (r *reader) natural() int {
	n := len(r.rest) - len(strings.TrimLeft(r.rest, "0123456789"))
	s := r.rest[:n]
	i, err := strconv.Atoi(s)
	r.other = r.other || err != nil || s[0] == '0' && n > 1
	r.rest = r.rest[n:]
	return i
}
