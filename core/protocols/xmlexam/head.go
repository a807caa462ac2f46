package xmlexam

import (
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Head reads who, what and when from n: the Common block of <Ophthalmology>, or <Data> itself.
func (d *Draft) Head(n Node) {
	e := d.Exam
	e.Device = exam.Device{
		Make:   n.Child("Company").Text(),
		Model:  n.Child("ModelName").Text(),
		Serial: n.Child("MachineNo").Text(),
	}
	order := n.Child("DateFormat").Text()
	e.TakenAt = moment(n.Child("Date").Text(), n.Child("Time").Text(), order)
	p := n.Child("Patient")
	d.Text(p.Child("No.", "No"), Key{Code: exam.CodeExamNo, Eye: exam.Both})
	d.Number(p.Child("Age"), Key{Code: exam.CodeAge, Eye: exam.Both})
	d.duration(n.Child("Duration"))
	e.Patient = exam.Patient{ID: p.Child("ID").Text(), Name: personName(p), Sex: Sex(p.Child("Sex").Text())}
	if birth, ok := isoDate(p.Child("DOB").Text(), order); ok {
		e.Patient.Birth = birth
	}
	d.EndHead()
}

// Moment reads when the exam was taken from one element: date, then _, T or a blank, then time of day.
func (d *Draft) Moment(n Node) {
	d.Exam.TakenAt = Moment(n.Text(), "", "")
}

// Moment makes ISO 8601 of a date with any separators and a time of day, which may stand behind the date, too; empty where
// the date is none, and only the date where the time is none. With the year last, order tells day from month: one that begins
// with D or M.
func Moment(date, clock, order string) string {
	if i := strings.IndexAny(date, "_T "); i >= 0 && clock == "" {
		date, clock = date[:i], date[i+1:]
	}
	return moment(date, clock, order)
}

// Day is the date of Moment alone.
func Day(text, order string) string {
	day, _, _ := strings.Cut(Moment(text, "", order), "T")
	return day
}

// personName prefers the name in the country's own letters.
func personName(p Node) string {
	own := words(p.Child("NameJ1").Text(), p.Child("NameJ2").Text())
	latin := words(p.Child("LastName").Text(), p.Child("FirstName").Text(), p.Child("MiddleName").Text())
	if own != "" {
		return own
	}
	return latin
}

func words(parts ...string) string {
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// Sex is M, F or O for a maker's word, empty for none.
func Sex(s string) string {
	switch strings.ToLower(s) {
	case "m", "male", "1":
		return "M"
	case "f", "female", "2":
		return "F"
	case "":
		return ""
	}
	return "O"
}

// duration reads hh:mm:ss as seconds.
func (d *Draft) duration(n Node) {
	raw := n.Raw()
	parts := strings.Split(strings.TrimSpace(raw), ":")
	if len(parts) != 3 {
		return
	}
	seconds := 0
	for _, part := range parts {
		v, err := strconv.Atoi(part)
		if err != nil || v < 0 || v > 9999 {
			return
		}
		seconds = 60*seconds + v
	}
	d.Add(Key{Code: exam.CodeDuration, Eye: exam.Both}, exam.Number(float64(seconds)), raw)
}

// moment makes ISO 8601 of a date and a time of day, which may have dashes (14-20-33): only the date where the time says
// nothing, empty where the date does not.
func moment(date, time, order string) string {
	day, ok := isoDate(date, order)
	if !ok {
		return ""
	}
	clock, fraction, _ := strings.Cut(strings.Replace(time, ",", ".", 1), ".")
	parts := strings.FieldsFunc(clock, func(r rune) bool { return r == ':' || r == '-' || r == ' ' })
	if len(parts) != 2 && len(parts) != 3 {
		return day
	}
	for i := range parts {
		if !padded(&parts[i], 2) || len(parts[i]) > 2 {
			return day
		}
	}
	day += "T" + strings.Join(parts, ":")
	if fraction != "" && len(parts) == 3 && padded(&fraction, 1) {
		day += "." + fraction
	}
	return day
}

// isoDate makes YYYY-MM-DD of a date with any separators. With the year last, order tells day from month as Topcon
// writes it in DateFormat: D_M_Y or M_D_Y.
func isoDate(s, order string) (string, bool) {
	p := strings.FieldsFunc(s, func(r rune) bool { return r == '-' || r == '/' || r == '.' || r == ' ' })
	if len(p) == 1 && len(s) == 8 {
		p = []string{s[:4], s[4:6], s[6:]}
	}
	if len(p) != 3 {
		return "", false
	}
	if len(p[2]) == 4 && len(p[0]) <= 2 {
		switch {
		case strings.HasPrefix(order, "D"):
			p[0], p[2] = p[2], p[0]
		case strings.HasPrefix(order, "M"):
			p[0], p[1], p[2] = p[2], p[0], p[1]
		}
	}
	if len(p[0]) != 4 || !padded(&p[0], 4) || !padded(&p[1], 2) || !padded(&p[2], 2) || len(p[1]) > 2 || len(p[2]) > 2 {
		return "", false
	}
	return strings.Join(p, "-"), true
}

// padded says whether *s is of digits only, and fills it up to size with zeros in front.
func padded(s *string, size int) bool {
	for i := range len(*s) {
		if c := (*s)[i]; c < '0' || c > '9' {
			return false
		}
	}
	*s = strings.Repeat("0", max(0, size-len(*s))) + *s
	return true
}
