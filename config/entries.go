package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

var (
	entryName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	// reserved names are devices of Windows; a folder cannot have them.
	reserved = regexp.MustCompile(`^(con|prn|aux|nul|com[0-9]|lpt[0-9])$`)
)

func (v *checker) lists() {
	for _, l := range []struct {
		key       string
		have, max int
	}{
		{"devices", len(v.c.Devices), maxDevices},
		{"sinks", len(v.c.Sinks), maxSinks},
		{"routes", len(v.c.Routes), maxRoutes},
	} {
		if l.have > l.max {
			v.fault(l.key, fmt.Sprintf("has %d entries, the limit is %d", l.have, l.max), "")
		}
	}
}

func (v *checker) devices() {
	for i := range v.c.Devices {
		d, at := &v.c.Devices[i], element("devices", i)
		v.entry(at, d.Plugin, d.LogLevel, d.MemoryMB)
		v.schedule(at+".schedule", &d.Schedule)
		v.expect(at+".expect", &d.Expect)
	}
}

func (v *checker) schedule(at string, s *Schedule) {
	if s.Every != 0 {
		v.span(at+".every", s.Every, 10*time.Millisecond, 24*time.Hour)
	}
	rule, err := ParseCron(s.Cron)
	switch {
	case err != nil:
		v.fault(at+".cron", err.Error(), "write e.g. \"*/15 8-18 * * 1-5\"")
	case !rule.IsZero() && s.Every != 0:
		v.fault(at+".cron", "is written beside every", "write one of the two")
	}
	v.span(at+".offset", s.Offset, 0, 24*time.Hour)
	v.span(at+".jitter", s.Jitter, 0, time.Hour)
	if s.Every != 0 && s.Jitter > s.Every {
		v.fault(at+".jitter", "is longer than every", "write at most "+Short(s.Every))
	}
	v.hours(at+".window", s.Window)
	v.span(at+".timeout", s.Timeout, 100*time.Millisecond, time.Hour)
}

func (v *checker) expect(at string, e *Expect) {
	v.hours(at+".during", e.During)
	hours, err := ParseHours(e.During)
	switch {
	case e.Every == 0 && e.During != "":
		v.fault(at+".every", "is missing beside during", "write e.g. 90m")
	case e.Every == 0, err != nil:
	case e.During != "" && e.Every >= hours.Longest():
		v.fault(at+".every", "is not shorter than the longest hours of during", "write less than "+Short(hours.Longest())+", or leave during out")
	default:
		v.span(at+".every", e.Every, time.Minute, 31*24*time.Hour)
	}
}

func (v *checker) hours(key, text string) {
	if _, err := ParseHours(text); err != nil {
		v.fault(key, err.Error(), "write e.g. \"09:00-18:30\" or \"mon-fri 08:00-12:00, 13:00-18:00, sat 09:00-13:00\"")
	}
}

func (v *checker) sinks() {
	for i := range v.c.Sinks {
		s, at := &v.c.Sinks[i], element("sinks", i)
		v.entry(at, s.Plugin, s.LogLevel, s.MemoryMB)
		v.number(at+".batch", s.Batch, 1, 1000)
		v.number(at+".in_flight", s.InFlight, 1, 8)
		v.span(at+".timeout", s.Timeout, time.Second, time.Hour)
		v.word(at+".start", s.Start, []string{"now", "oldest"})
		v.word(at+".unassigned", s.Unassigned, []string{Deliver, Hold})
	}
}

// entry holds what devices and sinks have in common, but for their names.
func (v *checker) entry(at, plugin, level string, memory int) {
	switch {
	case v.bad[at]:
		return
	case plugin == "":
		v.fault(at+".plugin", "is missing", "name the plugin's binary, without its extension")
	case !pluginName.MatchString(plugin):
		v.fault(at+".plugin", "must be 1 to 64 lower-case letters, digits and dashes", "")
	}
	if level != "" {
		v.word(at+".log_level", level, levelWords)
	}
	if memory != 0 {
		v.number(at+".memory_mb", memory, leastMemory, mostMemory)
	}
}

// Bounds of what a plugin may use, in MiB.
const (
	leastMemory = 64
	mostMemory  = 65536
)

// nameForm is what a name must be.
const nameForm = "must be 1 to 64 lower-case letters, digits, dashes and underscores"

// CheckName is nil for a name that a device or a sink may have.
func CheckName(name string) error {
	switch {
	case !entryName.MatchString(name):
		return fmt.Errorf("name %q %s", name, nameForm)
	case reserved.MatchString(name):
		return fmt.Errorf("name %q is reserved by Windows", name)
	}
	return nil
}

// names holds the form of names, and that no two are the same.
func (v *checker) names() {
	seen := map[string]string{}
	check := func(at, name string) {
		key := at + ".name"
		switch {
		case v.bad[at]:
		case name == "":
			v.fault(key, "is missing", "")
		case !entryName.MatchString(name):
			v.fault(key, nameForm, "")
		case reserved.MatchString(name):
			v.fault(key, "is reserved by Windows", "write e.g. "+v.said(key, name)+"-1")
		case seen[name] != "":
			first := v.c.marks.at(seen[name])
			v.fault(key, v.said(key, name)+" is the name of "+seen[name]+" already", fmt.Sprintf("that is in %s", Fault{File: first.file, Line: first.line}.place()))
		default:
			seen[name] = at
		}
	}
	for i := range v.c.Devices {
		check(element("devices", i), v.c.Devices[i].Name)
	}
	for i := range v.c.Sinks {
		check(element("sinks", i), v.c.Sinks[i].Name)
	}
}

func (v *checker) routes() {
	var sinks []string
	nameless := v.bad["sinks"] // then a route may well mean that one
	for i := range v.c.Sinks {
		sinks = append(sinks, v.c.Sinks[i].Name)
		nameless = nameless || v.c.Sinks[i].Name == ""
	}
	for i := range v.c.Routes {
		r, at := &v.c.Routes[i], element("routes", i)
		if len(r.To) == 0 && !v.bad[at] {
			v.fault(at+".to", "is missing", "name at least one sink")
		}
		for j, to := range r.To {
			key := element(at+".to", j)
			switch {
			case slices.Contains(r.To[:j], to):
				v.fault(key, v.said(key, to)+" is named twice", "")
			case !slices.Contains(sinks, to) && !nameless:
				v.fault(key, "unknown sink "+v.said(key, to), v.meant(key, to, sinks))
			}
		}
	}
}
