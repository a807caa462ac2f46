package try

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/capture"
)

// lineEvery is how often what passed over the line is looked for.
const lineEvery = 200 * time.Millisecond

// errNoLine is a driver that offers no bytes.
var errNoLine = errors.New("the driver does not offer the bytes of its line: its manifest has no setting capture; leave --wire out, or let it call Env.Wire (docs/simulate.md)")

// captured are the settings with which the driver keeps the bytes of its line, where that is asked for.
func (t *trial) captured(settings map[string]any) (map[string]any, error) {
	if !t.Wire {
		return settings, nil
	}
	if !slices.ContainsFunc(t.proc.Manifest.Settings, func(s sdk.Setting) bool { return s.Name == "capture" }) {
		return nil, errNoLine
	}
	settings = maps.Clone(settings)
	if settings == nil {
		settings = map[string]any{}
	}
	settings["capture"] = true
	return settings, nil
}

// line shows what has passed over the line since the last look; the last is when that was.
func (s *session) line(last time.Time) (time.Time, error) {
	log, err := capture.Load(s.t.path("state", capture.Dir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // it has no connection yet
		}
		return last, err
	}
	log.Events = slices.DeleteFunc(log.Events, func(e capture.Event) bool { return !e.At.After(last) })
	if !s.t.ShowData {
		log = log.Mask()
	}
	for i := range log.Events {
		e := &log.Events[i]
		last = e.At
		s.t.say.event("line", fields{"line": e.Wire, "connection": e.Conn, "kind": e.Kind, "data": e.Data, "time": e.At}, "%s", e)
	}
	return last, nil
}
