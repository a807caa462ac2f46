package schedule

import (
	"math/rand/v2"
	"time"
)

// Rule is a rule of times by the clock, such as one of cron.
type Rule interface {
	// Next is the first time after t, zero where there is none.
	Next(t time.Time) time.Time
}

// Window is when polls may be.
type Window interface {
	Contains(t time.Time) bool
	// Opens is the first instant in the window that is not before t.
	Opens(t time.Time) time.Time
}

// Times say when a device is due: at Every from its start, or when Cron says.
type Times struct {
	Every  time.Duration // above 0, unless there is a Cron
	Cron   Rule          // nil: Every
	Offset time.Duration // each time comes later by this much
	Jitter time.Duration // and by a random part of this; the times after it do not move
	Window Window        // nil: always. A time outside it is left out, and the moment in which it opens is one
}

// look is how long a Plan waits at most before the clock is read again: somebody may put it, and a machine may sleep.
const look = 15 * time.Second

// maxOverruns is the most that one poll counts.
const maxOverruns = 1000

// Plan gives the due times of one device, one after the other. It is used by one goroutine.
type Plan struct {
	times  Times
	first  time.Time // a step of Every, as all are that lie a multiple of it later
	due    time.Time // zero: never
	seen   time.Time // when the clock was read last
	random func(n int64) int64
}

// NewPlan begins at now, which is the first time of Every, or its beginning is where the window opens. That of Cron is the
// first one after now.
func NewPlan(t Times, now time.Time) *Plan {
	p := &Plan{times: t, first: now.Add(t.Offset), seen: now, random: rand.Int64N}
	if t.Cron != nil {
		p.due = p.allowed(p.step(now), now)
	} else {
		p.due = p.allowed(p.first, now)
	}
	return p
}

// Wait is how long to wait before Due is asked again.
func (p *Plan) Wait(now time.Time) time.Duration {
	if p.due.IsZero() {
		return look
	}
	return min(max(p.due.Sub(now), 0), look)
}

// Due says whether the device is to be read now. Where the clock was put back, the next time is found anew.
func (p *Plan) Due(now time.Time) bool {
	if p.seen.Round(0).Sub(now.Round(0)) > look {
		p.due = p.allowed(p.step(now), now)
	}
	p.seen = now
	return !p.due.IsZero() && !now.Before(p.due)
}

// Open says whether the device may be read now because it asks for it.
func (p *Plan) Open(now time.Time) bool {
	return p.times.Window == nil || p.times.Window.Contains(now)
}

// Done says that a poll is over, whether it was due or the device had asked for it. It gives how many times passed while it
// ran; these are left out. Of the times that passed before it, while the machine slept or no worker was free, it was the
// one for all; the steps of Every begin anew with one that is late by more than a step.
func (p *Plan) Done(begun, now time.Time) (overruns int) {
	p.seen = now
	if p.due.IsZero() || now.Before(p.due) {
		return 0
	}
	if begun.Sub(p.due) >= p.times.Every {
		p.first = begun
	}
	for at := p.step(begun); !at.IsZero() && !at.After(now) && overruns < maxOverruns; at = p.step(at) {
		overruns++
	}
	p.due = p.allowed(p.step(now), now)
	return overruns
}

// step is the first time after t, without jitter and window.
func (p *Plan) step(t time.Time) time.Time {
	if p.times.Cron != nil {
		next := p.times.Cron.Next(t.Add(-p.times.Offset).Round(0))
		if next.IsZero() {
			return next
		}
		return next.Add(p.times.Offset)
	}
	if t.Before(p.first) {
		return p.first
	}
	return p.first.Add((t.Sub(p.first)/p.times.Every + 1) * p.times.Every)
}

// allowed is the time that comes of one, seen from now: in the window, and with its random part.
func (p *Plan) allowed(at, now time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	if w := p.times.Window; w != nil {
		if clock := now.Round(0).Add(at.Sub(now)); !w.Contains(clock) { // at may be a step of a clock that was put since
			at = w.Opens(clock)
		}
	}
	if p.times.Jitter > 0 && !at.IsZero() {
		at = at.Add(time.Duration(p.random(int64(p.times.Jitter))))
	}
	return at
}
