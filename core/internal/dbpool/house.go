package dbpool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

const scanEvery = 250 * time.Millisecond

// keepHouse watches the leases and writes the status until ctx has ended and every worker with it.
func (p *Pool) keepHouse(ctx context.Context, g *life.Group) {
	scan := time.NewTicker(scanEvery)
	defer scan.Stop()
	monitor := time.NewTicker(p.limits.Load().MonitorInterval)
	defer monitor.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-scan.C:
			p.scan(g)
		case <-monitor.C:
			if p.limits.Load().MonitorEnabled {
				p.report()
			}
		case <-p.resized:
			monitor.Reset(p.limits.Load().MonitorInterval)
			p.hire(g, wide)
		case <-stop:
			p.guard.stop()
			stop = nil
		case <-p.guard.ended:
			return
		}
	}
}

// scan cancels the leases that are beyond their time and cuts their connections, abandons those that this did not end,
// and cuts what drivers keep open behind closed connections.
func (p *Pool) scan(g *life.Group) {
	late, dead := p.guard.overdue(p.limits.Load().OperationTimeout+p.cut, p.abandon)
	for _, h := range late {
		p.log.Warn("database operation is beyond its time and is cancelled", "holder", h.Name, "statement", h.Statement, "age", h.Oldest.Round(time.Millisecond))
	}
	for _, d := range dead {
		p.log.Error("database operation did not end and is abandoned; its connection is replaced", "holder", d.Name, "statement", d.Statement, "age", d.Oldest.Round(time.Millisecond))
		p.replace(g, d.lane)
	}
	if p.links != nil {
		p.links.sweep()
	}
}

// replace puts a new handle and a new worker in the place of one that does not come back. The old handle closes its
// idle connections at once, and those in use when they return.
func (p *Pool) replace(g *life.Group, k lane) {
	if err := p.renew(k); err != nil {
		p.log.Error("database connections not replaced", "err", err)
	}
	p.hire(g, k)
}

var workerNames = [...]string{wide: "database worker", narrow: "database writer"}

type overdue struct {
	Holder
	lane lane
}

// overdue cancels what is older than limit, and cuts its connection, once; what has not ended a grace later it
// abandons: its callers are released with an unknown outcome.
func (g *guard) overdue(limit, grace time.Duration) (late, dead []overdue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.leases {
		age := time.Since(l.since)
		first := l.jobs[0]
		o := overdue{Holder{Name: names(l.jobs), Oldest: age, Statement: first.statement}, first.lane}
		switch {
		case age > limit && l.cut.IsZero():
			l.cut = time.Now()
			if l.cancel != nil {
				l.cancel()
			}
			if l.link != nil {
				l.link.cut()
			}
			late = append(late, o)
		case !l.cut.IsZero() && time.Since(l.cut) > grace:
			l.abandoned = true
			g.lost++
			g.workers[first.lane]--
			answers := make([]answer, len(l.jobs))
			for i, j := range l.jobs {
				answers[i].err = sdk.WithClass(sdk.ClassUnknown, fmt.Errorf("%s: %w", j.statement, ErrAbandoned))
			}
			g.drop(l, answers)
			dead = append(dead, o)
		}
	}
	if len(dead) > 0 {
		g.closeEnded()
	}
	return late, dead
}

// names joins the holders of a group.
func names(jobs []*job) string {
	var out []string
	seen := map[string]bool{}
	for _, j := range jobs {
		if h := j.line.holder; !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return strings.Join(out, ", ")
}

// report writes the status line, and a warning that names the holders when few connections are left.
func (p *Pool) report() {
	s := p.Stats()
	p.log.Info(fmt.Sprintf("Primary DB Pool Status - Open: %d, InUse: %d, Idle: %d, WaitCount: %d, WaitDuration: %s",
		s.Open, s.InUse, s.Idle, s.WaitCount, s.WaitDuration))
	usage := float64(s.InUse) / float64(s.MaxOpen)
	if usage < p.limits.Load().WarnAt {
		return
	}
	p.log.Warn(fmt.Sprintf("Primary DB connection pool usage high: %.1f%% (%d/%d connections in use); holders: %s; waiting %d",
		usage*100, s.InUse, s.MaxOpen, describe(s.Holders, firstHolder), s.Waiting))
}

type detailed int

const (
	firstHolder detailed = 1 // the oldest operation of the first holder only
	allHolders  detailed = 1 << 20
)

// describe names holders as in "emr 31 (oldest 4.2s, UPSERT exam), pacs 5".
func describe(holders []Holder, n detailed) string {
	var b strings.Builder
	for i, h := range holders {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", h.Name, h.InUse)
		if i < int(n) {
			fmt.Fprintf(&b, " (oldest %.1fs, %s)", h.Oldest.Seconds(), cut(h.Statement, 60))
		}
	}
	return b.String()
}

// holders is who has leases, most first; g.mu is held.
func (g *guard) holders() []Holder {
	by := map[string]*Holder{}
	now := time.Now()
	for l := range g.leases {
		for _, j := range l.jobs {
			h := by[j.line.holder]
			if h == nil {
				h = &Holder{Name: j.line.holder}
				by[h.Name] = h
			}
			h.InUse = j.line.inUse[wide] + min(j.line.inUse[narrow], 1) // a group of writes is one connection
			if age := now.Sub(l.since); age >= h.Oldest {
				h.Oldest, h.Statement = age, j.statement
			}
		}
	}
	out := make([]Holder, 0, len(by))
	for _, h := range by {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.InUse, a.InUse), strings.Compare(a.Name, b.Name))
	})
	return out
}
