package host

import (
	"fmt"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
)

// expectation is how often a device sends while it is well.
type expectation struct {
	every  time.Duration // 0: nothing is expected
	during config.Hours
}

func newExpectation(e *config.Expect) (expectation, error) {
	hours, err := config.ParseHours(e.During)
	if err != nil {
		return expectation{}, fmt.Errorf("during: %w", err)
	}
	return expectation{e.Every, hours}, nil
}

// settling is how long after its start a device is not called silent, unless less is expected of it: the machine was off,
// and nothing could come.
const settling = time.Hour

// silent says whether a device should have sent by now. The newest record is that of the spool, from before this start
// perhaps; zero: there is none.
func (e expectation) silent(newest, started, now time.Time) bool {
	if e.every == 0 || !e.during.Contains(now) || now.Sub(started) <= min(e.every, settling) {
		return false
	}
	since := newest
	if since.IsZero() {
		since = started
	}
	if e.during.String() != "" {
		if opened := e.during.Opened(now); opened.After(since) {
			since = opened
		}
	}
	return now.Sub(since) > e.every
}

// silence are the devices that should have sent and did not. One of them is so until its next record, or until nothing is
// expected of it any more, also after the hours in which it is.
type silence struct {
	mu     sync.Mutex
	newest map[string]time.Time // guarded by mu: of a silent device, its newest record then
}

// look gives what has changed: a device is silent now, or it has sent.
func (s *silence) look(device string, e expectation, newest, started, now time.Time) (begins, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, was := s.newest[device]
	switch {
	case was && (e.every == 0 || newest.After(before)):
		delete(s.newest, device)
		return false, true
	case !was && e.silent(newest, started, now):
		if s.newest == nil {
			s.newest = map[string]time.Time{}
		}
		s.newest[device] = newest
		return true, false
	}
	return false, false
}

// of gives a silent device's newest record.
func (s *silence) of(device string) (newest time.Time, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest, is = s.newest[device]
	return newest, is
}

// lookForSilence looks at each device once, and logs what has changed.
func (h *Host) lookForSilence(now time.Time) {
	st := h.spool.Stats()
	newest := map[string]time.Time{}
	for i := range st.Devices {
		newest[st.Devices[i].Name] = st.Devices[i].Latest
	}
	for _, u := range h.now().devices {
		e := u.expect
		if u.gate.isPaused() {
			e = expectation{}
		}
		begins, ends := h.silence.look(u.name, e, newest[u.name], h.started, now)
		switch {
		case begins:
			h.log.Warn("device is silent", "device", u.name, "newest_record", said(newest[u.name]), "expected_every", e.every.String(), "during", e.during.String())
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

// silenceOf is the alarm's text for a device; empty where there is none.
func (h *Host) silenceOf(u *unit) string {
	newest, is := h.silence.of(u.name)
	if !is {
		return ""
	}
	when := "within " + u.expect.every.String()
	if hours := u.expect.during.String(); hours != "" {
		when += " during " + hours
	}
	return fmt.Sprintf("its newest record is of %s, and one was expected %s: see whether it is switched on and connected; the next record ends this", said(newest), when)
}
