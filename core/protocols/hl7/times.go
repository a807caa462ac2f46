package hl7

import (
	"strconv"

	"github.com/hostd/hostd/core/sdk/exam"
)

// isoTime makes ISO 8601 of YYYY[MM[DD[hh[mm[ss[.ffff]]]]]][+zzzz] (HL7 v2.5.1 chapter 2.A, DTM): as exact as it was sent,
// with minutes and seconds where hours came. What is no time is empty.
func isoTime(b []byte) string {
	digits := 0
	for digits < len(b) && isDigit(b[digits]) {
		digits++
	}
	if digits < 4 || digits%2 != 0 || digits > 14 || !inRange(b, digits) {
		return ""
	}
	at := digits
	if digits == 14 && at < len(b) && b[at] == '.' {
		for at++; at < len(b) && isDigit(b[at]); at++ {
		}
		if at == digits+1 || at > digits+10 {
			return ""
		}
	}
	zone := b[at:]
	if len(zone) != 0 && (len(zone) != 5 || zone[0] != '+' && zone[0] != '-' || !allDigits(zone[1:])) {
		return ""
	}
	out := make([]byte, 0, 40)
	out = append(out, b[:4]...)
	for i := 4; i < min(digits, 8); i += 2 {
		out = append(append(out, '-'), b[i:i+2]...)
	}
	if digits <= 8 {
		return string(out)
	}
	for i, mark := range []byte("T::") {
		pair := []byte("00")
		if from := 8 + 2*i; from < digits {
			pair = b[from : from+2]
		}
		out = append(append(out, mark), pair...)
	}
	out = append(out, b[digits:at]...)
	if len(zone) > 0 {
		out = append(append(append(out, zone[:3]...), ':'), zone[3:]...)
	}
	return string(out)
}

// inRange says whether month, day, hour, minute and second may be.
func inRange(b []byte, digits int) bool {
	if string(b[:4]) == "0000" {
		return false
	}
	for i, limit := range []struct{ low, high int }{{1, 12}, {1, 31}, {0, 23}, {0, 59}, {0, 60}} {
		from := 4 + 2*i
		if from >= digits {
			return true
		}
		if n := int(b[from]-'0')*10 + int(b[from+1]-'0'); n < limit.low || n > limit.high {
			return false
		}
	}
	return true
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// shiftDecimal moves the decimal point of a number, exactly; a multiplication would not be.
func shiftDecimal(text string, places int) (exam.Value, bool) {
	f, err := strconv.ParseFloat(text+"e"+strconv.Itoa(places), 64)
	return exam.Number(f), err == nil
}
