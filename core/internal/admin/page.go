package admin

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"tone": tone, "word": word, "ago": ago, "bytes": humanBytes, "count": count, "percent": percent, "span": span,
}).Parse(pageText))

// view is what the page shows.
type view struct {
	Status
	Now   time.Time
	Tone  string // good, warn or bad: the worst thing on the page
	Title string
}

// render writes the page of one status.
func render(w io.Writer, s Status) error {
	v := view{Status: s, Now: time.Now()}
	v.Tone, v.Title = verdict(s)
	if err := pageTemplate.Execute(w, v); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	return nil
}

// verdict is the headline: how many things need somebody.
func verdict(s Status) (look, title string) {
	bad, warn := 0, 0
	add := func(t string) {
		switch t {
		case "bad":
			bad++
		case "warn":
			warn++
		}
	}
	for _, d := range s.Devices {
		add(tone(d.State))
	}
	for _, k := range s.Sinks {
		add(tone(k.State))
		if k.Dead > 0 {
			warn++
		}
	}
	warn += len(s.Alarms)
	switch {
	case bad > 0:
		return "bad", plural(bad+warn, "thing needs", "things need") + " attention"
	case warn > 0:
		return "warn", plural(warn, "thing", "things") + " to look at"
	case !s.Ready:
		return "warn", "Starting"
	}
	return "good", "All well"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// tone is the colour of a state.
func tone(s State) string {
	switch s {
	case Up:
		return "good"
	case Failing, BreakerOpen:
		return "bad"
	case Stopped, Removed, Paused:
		return "off"
	case Starting, Silent, Parked, BackingOff, Unapproved:
		return "warn"
	}
	return "warn"
}

// word is a state as a person says it.
func word(s State) string {
	switch s {
	case BackingOff:
		return "trying again"
	case BreakerOpen:
		return "given up"
	case Unapproved:
		return "not approved"
	default:
		return string(s)
	}
}

// ago is how long before now a moment was; a nil or zero moment is a dash.
func ago(now time.Time, t any) string {
	var at time.Time
	switch t := t.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t != nil {
			at = *t
		}
	}
	if at.IsZero() {
		return "–"
	}
	d := now.Sub(at)
	if d < time.Second {
		return "now"
	}
	return span(d.Seconds()) + " ago"
}

// span is a number of seconds in its largest unit.
func span(seconds float64) string {
	switch {
	case seconds < 10:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.0f h", seconds/3600)
	}
	return fmt.Sprintf("%.0f days", seconds/86400)
}

// humanBytes is a size in binary units.
func humanBytes(n int64) string {
	size, unit := float64(n), "bytes"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if unit == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// count is a whole number with a thin space between thousands.
func count(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// percent of a whole, 0 to 100; of nothing it is 0.
func percent(part, whole int) int {
	if whole <= 0 {
		return 0
	}
	return min(100*part/whole, 100)
}
