package nidekrs

import "github.com/hostd/hostd/core/sdk/exam"

// What a field holds.
type word uint8

const (
	isNumber word = iota
	isNothing
	isBroken
)

// parse reads a number: a sign or none, blanks before and behind the sign and at the end, digits with a point or none. A
// field of blanks, dashes, points and question marks has no value. Plain says that the number's own text is the field.
func parse(field string) (n float64, w word, plain bool) {
	if n, plain, ok := column(field); ok {
		return n, isNumber, plain
	}
	s := field
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	s = unblank(s)
	minus := s != "" && s[0] == '-'
	if minus || s != "" && s[0] == '+' {
		s = unblank(s[1:])
	}
	whole, point := uint64(0), -1
	for i := range len(s) {
		c := s[i] - '0'
		if c <= 9 {
			whole = whole*10 + uint64(c)
			continue
		}
		if s[i] != '.' || point >= 0 {
			return 0, unread(field), false
		}
		point = i
	}
	digits, places := len(s), 0
	if point >= 0 {
		digits--
		places = digits - point
	}
	switch {
	case digits == 0:
		return 0, unread(field), false
	case digits > exam.MaxDigits:
		return 0, isBroken, false
	}
	size := len(s)
	if minus && whole > 0 {
		size++
	}
	plain = size == len(field) && point != 0 && (s[0] != '0' || point == 1 || digits == 1) && (point < 0 || places > 0 && s[len(s)-1] != '0')
	return value(whole, places, minus), isNumber, plain
}

// column reads what nearly all fields are, 170, 62.5, 07.86 and -02.25, with a blank for the first digit, or for the last one behind a
// point, or not, in half the time.
func column(s string) (n float64, plain, ok bool) {
	if len(s) == 3 {
		a, b, c := s[0]-'0', s[1]-'0', s[2]-'0'
		if s[0] == ' ' {
			a = 0
		}
		return float64(int(a)*100 + int(b)*10 + int(c)), a > 0, max(a, b, c) <= 9
	}
	if len(s) == 4 && s[2] == '.' {
		a, b, c := s[0]-'0', s[1]-'0', s[3]-'0'
		if s[0] == ' ' {
			a = 0
		}
		return float64(int(a)*100+int(b)*10+int(c)) / 10, a > 0 && c > 0, max(a, b, c) <= 9
	}
	sign := byte(0)
	if len(s) == 6 {
		sign, s = s[0], s[1:]
	}
	if len(s) != 5 || s[2] != '.' || sign != 0 && sign != '-' && sign != '+' && sign != ' ' {
		return 0, false, false
	}
	a, b, c, d := s[0]-'0', s[1]-'0', s[3]-'0', s[4]-'0'
	if s[0] == ' ' {
		a = 0
	}
	if s[4] == ' ' {
		d = 0
	}
	hundredths := int(a)*1000 + int(b)*100 + int(c)*10 + int(d)
	if sign == '-' {
		hundredths = -hundredths
	}
	return float64(hundredths) / 100, a > 0 && d > 0 && sign != '+' && sign != ' ', max(a, b, c, d) <= 9
}

// unblank is s without the blanks before it.
func unblank(s string) string {
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	return s
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
	for i := range len(s) {
		switch s[i] {
		case ' ', '-', '.', '?':
		default:
			return isBroken
		}
	}
	return isNothing
}
