package host

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
)

// settling is how long after its start a device is not called silent, unless less is expected of it: the machine was off,
// and nothing could come.
const settling = time.Hour

// silence is about a device that should send and does not. It is so until its next record, also after the hours in which
// something is expected of it.
type silence struct {
	every  time.Duration // 0: nothing is expected
	during config.Hours

	mu     sync.Mutex
	from   time.Time // guarded by mu: nothing could come before
	is     bool      // guarded by mu
	newest time.Time // guarded by mu: the newest record when it began; zero: there was none
}

func newSilence(e *config.Expect, from time.Time) (*silence, error) {
	hours, err := config.ParseHours(e.During)
	if err != nil {
		return nil, fmt.Errorf("during: %w", err)
	}
	return &silence{every: e.Every, during: hours, from: from}, nil
}

// overdue says whether the device should have sent by now. The newest record is that of the spool, from before this start
// perhaps; zero: there is none. s.mu is held.
func (s *silence) overdue(newest, now time.Time) bool {
	if !s.during.Contains(now) || now.Sub(s.from) <= min(s.every, settling) {
		return false
	}
	since := newest
	if since.IsZero() {
		since = s.from
	}
	if s.during.String() != "" {
		if opened := s.during.Opened(now); opened.After(since) {
			since = opened
		}
	}
	return now.Sub(since) > s.every
}

// look gives what has changed: the device is silent now, or it is not any more. Of one that is paused nothing is expected.
func (s *silence) look(newest, now time.Time, paused bool) (begins, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.is
	switch {
	case paused:
		s.is, s.from = false, now
	case was:
		s.is = !newest.After(s.newest)
	default:
		s.is, s.newest = s.overdue(newest, now), newest
	}
	return s.is && !was, was && !s.is
}

// text is the alarm's; empty where there is none.
func (s *silence) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.is {
		return ""
	}
	return fmt.Sprintf("its newest record is of %s, and one was expected %s: see whether it is switched on and connected; the next record ends this",
		said(s.newest), s.expected())
}

func (s *silence) expected() string {
	text := "within " + config.Short(s.every)
	if hours := s.during.String(); hours != "" {
		text += " during " + hours
	}
	return text
}

// lookForSilence looks at each device of which something is expected, and logs what has changed.
func (h *Host) lookForSilence(now time.Time) {
	devices := slices.DeleteFunc(slices.Clone(h.now().devices), func(u *unit) bool { return u.silence.every == 0 })
	if len(devices) == 0 {
		return
	}
	newest := map[string]time.Time{}
	for _, d := range h.spool.Stats().Devices {
		newest[d.Name] = d.Latest
	}
	for _, u := range devices {
		begins, ends := u.silence.look(newest[u.name], now, u.gate.isPaused())
		switch {
		case begins:
			h.log.Warn("device is silent", "device", u.name, "newest_record", said(newest[u.name]), "expected", u.silence.expected())
		case ends:
			h.log.Info("device is not silent any more", "device", u.name)
		}
	}
}

// said is a time as a person reads it.
func said(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}
