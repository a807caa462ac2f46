package nidekrs

import "strings"

// months as the units write them.
const months = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"

// takenAt reads the three ways in which the units write a time: 14/MAR/2025.09:05, MAR/14/2025.09:05, 2025.03.14.09:05, each also
// with AM or PM. The empty text where it is none of them.
func takenAt(s string) (string, bool) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '.')
	if at < 0 {
		return "", false
	}
	date, clock := s[:at], s[at+1:]
	half := ""
	if n := len(clock) - 2; n > 0 && clock[n+1] == 'M' {
		clock, half = strings.TrimSpace(clock[:n]), clock[n:]
	}
	hour, minute, ok := clockOf(clock)
	switch {
	case half == "PM" && hour < 12:
		hour += 12
	case half == "AM" && hour == 12:
		hour = 0
	}
	year, month, day := dateOf(date)
	if !ok || hour > 23 || minute > 59 || year < 1000 || month < 1 || month > 12 || day < 1 || day > 31 {
		return "", false
	}
	return string([]byte{
		digit(year / 1000), digit(year / 100), digit(year / 10), digit(year), '-', digit(month / 10), digit(month), '-',
		digit(day / 10), digit(day), 'T', digit(hour / 10), digit(hour), ':', digit(minute / 10), digit(minute), ':', '0', '0',
	}), true
}

func digit(n int) byte { return '0' + byte(n%10) }

// clockOf reads hh:mm.
func clockOf(s string) (a, b int, ok bool) {
	one, other, _ := strings.Cut(s, ":")
	a, b = natural(one, 2), natural(other, 2)
	return a, b, a >= 0 && b >= 0
}

// dateOf reads D/MON/Y, MON/D/Y or Y.M.D; the year is 0 where it is none of them.
func dateOf(s string) (year, month, day int) {
	sep := "."
	if strings.Contains(s, "/") {
		sep = "/"
	}
	a, rest, _ := strings.Cut(s, sep)
	b, c, _ := strings.Cut(rest, sep)
	if sep == "." {
		return max(natural(a, 4), 0), natural(b, 2), natural(c, 2)
	}
	if len(a) == 3 {
		a, b = b, a
	}
	if at := strings.Index(months, b); len(b) == 3 && at >= 0 && at%3 == 0 {
		return max(natural(c, 4), 0), at/3 + 1, natural(a, 2)
	}
	return 0, 0, 0
}

// natural reads 1 to width digits; -1 is anything else.
func natural(s string, width int) int {
	if s == "" || len(s) > width {
		return -1
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}
