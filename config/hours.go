package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Hours are hours of a week by the local clock, such as a clinic's opening hours. The zero value is always.
type Hours struct {
	spans []hours
	text  string
}

// hours are those from one minute of the day to another, on the days that they begin on; to may lie on the next day.
type hours struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day; to is above from, and may be above a day's
}

const minutesOfDay = 24 * 60

var (
	spanForm = regexp.MustCompile(`^(?:([a-z]{3})(?:-([a-z]{3}))? +)?([0-9]{1,2}):([0-9]{2}) *- *([0-9]{1,2}):([0-9]{2})$`)
	weekdays = map[string]time.Weekday{"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
)

var errHours = errors.New("must be hours of the day, perhaps behind days of the week")

// ParseHours reads spans with commas between them: "09:00-18:30", "mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00",
// "22:00-06:00". A span without days has those of the span before it; the first one, every day. The first minute belongs
// to a span, the last one does not. One that ends before it begins goes on into the next day. An empty text is always.
func ParseHours(text string) (Hours, error) {
	if strings.TrimSpace(text) == "" {
		return Hours{}, nil
	}
	days := [7]bool{true, true, true, true, true, true, true}
	h := Hours{text: text}
	for part := range strings.SplitSeq(text, ",") {
		m := spanForm.FindStringSubmatch(strings.ToLower(strings.TrimSpace(part)))
		if m == nil {
			return Hours{}, errHours
		}
		if m[1] != "" {
			var err error
			if days, err = daysOf(m[1], m[2]); err != nil {
				return Hours{}, err
			}
		}
		from, err := minuteOf(m[3], m[4])
		if err != nil {
			return Hours{}, err
		}
		to, err := minuteOf(m[5], m[6])
		if err != nil {
			return Hours{}, err
		}
		if from == minutesOfDay || from == to {
			return Hours{}, fmt.Errorf("%s-%s has no minute in it", m[3]+":"+m[4], m[5]+":"+m[6])
		}
		if to < from {
			to += minutesOfDay
		}
		h.spans = append(h.spans, hours{days, from, to})
	}
	return h, nil
}

func daysOf(first, last string) (days [7]bool, err error) {
	from, ok := weekdays[first]
	if !ok {
		return days, fmt.Errorf("%s is no day: write sun, mon, tue, wed, thu, fri or sat", first)
	}
	to := from
	if last != "" {
		if to, ok = weekdays[last]; !ok {
			return days, fmt.Errorf("%s is no day: write sun, mon, tue, wed, thu, fri or sat", last)
		}
	}
	for d := from; ; d = (d + 1) % 7 {
		days[d] = true
		if d == to {
			return days, nil
		}
	}
}

func minuteOf(hour, minute string) (int, error) {
	h, _ := strconv.Atoi(hour) // digits, by the form
	m, _ := strconv.Atoi(minute)
	if n := h*60 + m; m < 60 && n <= minutesOfDay {
		return n, nil
	}
	return 0, fmt.Errorf("%s:%s is no time of the day", hour, minute)
}

// String is the text that it was parsed from.
func (h Hours) String() string { return h.text }

// Contains says whether t, by its own zone's clock, is in one of the spans.
func (h Hours) Contains(t time.Time) bool {
	minute, today := t.Hour()*60+t.Minute(), t.Weekday()
	yesterday := (today + 6) % 7
	for _, s := range h.spans {
		if s.days[today] && s.from <= minute && minute < s.to || s.days[yesterday] && minute+minutesOfDay < s.to {
			return true
		}
	}
	return len(h.spans) == 0
}

// Opens is the first instant in one of the spans that is not before t: t itself where they contain it. A beginning that
// the change to daylight saving time leaves out is the first instant after that change.
func (h Hours) Opens(t time.Time) time.Time {
	if h.Contains(t) {
		return t
	}
	var first time.Time
	for ahead := range 9 { // days: a span may begin only a week from now, and be left out on that day
		day := time.Date(t.Year(), t.Month(), t.Day()+ahead, 0, 0, 0, 0, t.Location())
		for _, s := range h.spans {
			if !s.days[day.Weekday()] {
				continue
			}
			at, ok := h.beginning(day, s)
			if ok && !at.Before(t) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
		if !first.IsZero() {
			break
		}
	}
	return first
}

// Opened is since when t has been in the spans without a break, to the minute and at most a week ago. It is t where they do
// not contain it.
func (h Hours) Opened(t time.Time) time.Time {
	if !h.Contains(t) {
		return t
	}
	at := t.Truncate(time.Minute)
	for range 7 * minutesOfDay {
		before := at.Add(-time.Minute)
		if !h.Contains(before) {
			break
		}
		at = before
	}
	return at
}

// Longest is the longest time without a break that a week has in the spans; a week where there is none.
func (h Hours) Longest() time.Duration {
	const week = 7 * minutesOfDay
	var in [week]bool
	for _, s := range h.spans {
		for d, on := range s.days {
			for m := s.from; on && m < s.to; m++ {
				in[(d*minutesOfDay+m)%week] = true
			}
		}
	}
	longest, run := 0, 0
	for m := range 2 * week { // a run may go over the end of the week
		if run++; !in[m%week] {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest > week || len(h.spans) == 0 {
		longest = week
	}
	return time.Duration(longest) * time.Minute
}

// longestGap is more minutes than any change of the clock leaves out.
const longestGap = 3 * 60

// beginning is the first instant of s on the day; there may be none where the clock leaves it out.
func (h Hours) beginning(day time.Time, s hours) (time.Time, bool) {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, s.from, 0, 0, day.Location())
	if at.Hour()*60+at.Minute() == s.from {
		return at, true
	}
	at = at.Add(-longestGap * time.Minute) // the clock leaves it out
	for range 2 * longestGap {
		if minute := at.Hour()*60 + at.Minute(); minute >= s.from && minute < s.to && at.Day() == day.Day() {
			return at, true
		}
		at = at.Add(time.Minute)
	}
	return time.Time{}, false
}
