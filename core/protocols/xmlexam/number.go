package xmlexam

import (
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// IsNothing says that a field was sent without a value: blank, or dashes and points ("--.-", "---").
func IsNothing(s string) bool { return strings.Trim(s, "-. \t\r\n") == "" }

// Number reads a numeric field: blanks around it and after the sign, a decimal comma, and a unit behind the digits
// ("12.00 mm", "557um") are allowed. unit is the unit that the document names for it, or empty; the value is in the
// unit of code. What is no number stays text, without the blanks around it.
func Number(raw, code, unit string) exam.Value {
	text := strings.TrimSpace(raw)
	digits, suffix := splitUnit(normalDecimal(text))
	if suffix != "" {
		unit = suffix
	}
	v := exam.ParseValue(code, digits)
	if !v.IsNumber() {
		return exam.Text(text)
	}
	target, _ := exam.UnitOf(code)
	if shift := shiftOf(unit, target); shift != 0 {
		f, err := strconv.ParseFloat(digits+"e"+strconv.Itoa(shift), 64) // exact, where a multiplication would not be
		if err != nil {
			return exam.Text(text)
		}
		return exam.Number(f)
	}
	return v
}

// normalDecimal makes the point of a lone decimal comma and drops blanks after a sign.
func normalDecimal(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[:1] + strings.TrimLeft(s[1:], blanks)
	}
	if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
		s = strings.Replace(s, ",", ".", 1)
	}
	return s
}

// splitUnit takes a known unit off the end of s; with an unknown one s stays whole.
func splitUnit(s string) (digits, unit string) {
	end := 0
	for end < len(s) && strings.IndexByte("+-.0123456789", s[end]) >= 0 {
		end++
	}
	if end == 0 || end == len(s) {
		return s, ""
	}
	switch unit = strings.TrimSpace(s[end:]); unit {
	case "mm", "cm", "m", "um", "µm", "μm", "D", "deg", "°", "%", "mmHg", "kPa", "hPa", "Pa", "s", "sec", "pri", "P":
		return s[:end], unit
	}
	return s, ""
}

// shiftOf is the power of ten from one unit of length or pressure to another; 0 where they are the same or not comparable.
func shiftOf(from, to string) int {
	a, kind := exponent(from)
	b, same := exponent(to)
	if kind == 0 || kind != same {
		return 0
	}
	return a - b
}

func exponent(unit string) (exp int, kind byte) {
	switch unit {
	case "um", "µm", "μm":
		return -6, 'm'
	case "mm":
		return -3, 'm'
	case "cm":
		return -2, 'm'
	case "m":
		return 0, 'm'
	case "Pa":
		return 0, 'p'
	case "hPa":
		return 2, 'p'
	case "kPa":
		return 3, 'p'
	}
	return 0, 0
}

// Value is the number in n in the unit of code, or the text that stands there.
func Value(n Node, code string) exam.Value { return Number(n.Raw(), code, n.Attr("unit", "Unit")) }
