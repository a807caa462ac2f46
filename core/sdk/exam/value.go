package exam

import (
	"math"
	"strconv"
)

// MaxDigits is the most digits a number may have: a float64 keeps that many exactly.
const MaxDigits = 15

// Value is a number or a text. The zero Value is the empty text. Values compare with ==.
type Value struct {
	text   string
	number float64
	isNum  bool
}

// Number makes a number. NaN and infinities are refused by Validate and Encode.
func Number(f float64) Value {
	if f == 0 {
		f = 0 // minus zero and zero are one value, with one encoding
	}
	return Value{number: f, isNum: true}
}

// Text makes a text, whatever it looks like.
func Text(s string) Value { return Value{text: s} }

// ParseValue makes of a text what the record keeps for it: a number when it is a plain decimal of at most MaxDigits
// digits (sign, digits, one point) and code is not identifier-like, else the text itself.
func ParseValue(code, text string) Value {
	if IsIdentifier(code) || !plainDecimal(text) {
		return Text(text)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Text(text)
	}
	return Number(f)
}

// IsNumber says whether v is a number.
func (v Value) IsNumber() bool { return v.isNum }

// Float is the number and true, or 0 and false for a text.
func (v Value) Float() (float64, bool) { return v.number, v.isNum }

// String is the text, or the number in its shortest decimal form ("2.5", "-0.75").
func (v Value) String() string {
	if !v.isNum {
		return v.text
	}
	return string(appendNumber(nil, v.number))
}

func (v Value) finite() bool { return !v.isNum || !(math.IsNaN(v.number) || math.IsInf(v.number, 0)) }

// appendNumber writes the shortest form; an exponent only where the digits would run past 21, as in ECMA-262.
func appendNumber(b []byte, f float64) []byte {
	if n := math.Round(f * 1000); math.Abs(n) < 1e9 && n/1000 == f { // at most three decimals: no shorter form gives f again
		return appendThousandths(b, int64(n))
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

// appendThousandths writes n/1000 without zeros at its end.
func appendThousandths(b []byte, n int64) []byte {
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendInt(b, n/1000, 10)
	if n %= 1000; n == 0 {
		return b
	}
	b = append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

func plainDecimal(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	digits, points := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.':
			points++
		default:
			return false
		}
	}
	return digits > 0 && digits <= MaxDigits && points <= 1
}
