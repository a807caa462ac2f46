package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

// Cron is a rule of cron by the local clock. The zero value has no times.
type Cron struct {
	rule *cronexpr.Expression
	text string
}

// cronFields are minute, hour, day of the month, month and day of the week; a rule may be one word such as @daily, too.
const cronFields = 5

// ParseCron reads a rule of five fields, or one of @hourly, @daily, @weekly, @monthly and @yearly. A rule that never comes
// to pass is an error. An empty text is no rule.
func ParseCron(text string) (Cron, error) {
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return Cron{}, nil
	case len(fields) != cronFields && (len(fields) != 1 || !strings.HasPrefix(fields[0], "@")):
		return Cron{}, fmt.Errorf("must have the %d fields of cron: minute, hour, day of the month, month, day of the week", cronFields)
	}
	rule, err := cronexpr.Parse(strings.Join(fields, " "))
	if err != nil {
		return Cron{}, fmt.Errorf("is no rule of cron: %w", err)
	}
	c := Cron{rule, text}
	if c.Next(time.Now()).IsZero() {
		return Cron{}, errors.New("is a rule of cron that never comes to pass")
	}
	return c, nil
}

// IsZero says that there is no rule.
func (c Cron) IsZero() bool { return c.rule == nil }

// String is the text that it was parsed from.
func (c Cron) String() string { return c.text }

// Next is the first time after t, in t's zone, that the rule names; zero where there is none. A time that the change to
// daylight saving time leaves out does not come on that day, and one in the hour that comes twice comes twice.
func (c Cron) Next(t time.Time) time.Time {
	if c.rule == nil {
		return time.Time{}
	}
	return c.rule.Next(t)
}
