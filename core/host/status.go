package host

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/spool"
)

// Status is admin.Source's.
func (h *Host) Status() admin.Status {
	st, r := h.spool.Stats(), h.now()
	s := admin.Status{
		Clinic: r.cfg.Clinic, Version: h.opt.Version, DataDir: h.places.data, StartedAt: h.started.UTC(),
		Devices: deviceStatus(r.devices, &st), Sinks: sinkStatus(r.sinks, &st), Pool: h.poolStatus(), Config: h.reload.status(),
		Spool: admin.Spool{
			Records: st.Records, Bytes: st.Bytes, OldestAt: timeOf(st.Oldest), Quarantined: st.Quarantined, Unrouted: st.Unrouted,
			NewestFile: st.Newest, NewestSynced: st.Synced,
		},
	}
	c := h.cache.Stats()
	s.Cache = admin.Cache{Entries: c.Entries, Hits: c.Hits, Misses: c.Misses, Loads: c.Loads}
	w := h.workers.Stats()
	s.Workers = admin.Workers{Size: w.Size, Busy: w.Busy, Queued: w.Queued}
	s.Alarms = h.alarms.of(&s, h.troubles(&st))
	return s
}

// Ready is admin.Source's.
func (h *Host) Ready() error {
	if h.ready.Load() {
		return nil
	}
	for _, u := range h.now().devices {
		select {
		case <-u.tried():
		default:
			return fmt.Errorf("device %s was not tried yet", u.name)
		}
	}
	return nil
}

// timeOf is null in JSON for a time that does not exist.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func deviceStatus(devices []*unit, st *spool.Stats) []admin.Device {
	stored := map[string]*spool.DeviceStats{}
	for i := range st.Devices {
		stored[st.Devices[i].Name] = &st.Devices[i]
	}
	list := make([]admin.Device, len(devices))
	for i, u := range devices {
		is, count := u.status(), u.count
		d := admin.Device{
			Name: u.name, Plugin: u.plugin, Version: is.Version, State: admin.State(is.State), Restarts: is.Restarts,
			Received: count.received.Load(), HeldMillis: time.Duration(count.held.Load()).Milliseconds(), Error: is.Error,
		}
		if why := count.rejected.Load(); d.Error == "" && why != nil {
			d.Error = *why
		}
		if u.gate.isPaused() {
			d.State, d.Error = admin.Paused, ""
		}
		if k := stored[u.name]; k != nil {
			d.Records, d.LastRecordAt = k.Records, timeOf(k.Latest)
		}
		if why := count.refused.Load(); d.Error == "" && why != nil {
			d.Error = *why
		}
		list[i] = d
	}
	return list
}

// sinkStatus has the configured sinks, and those that left the configuration while the spool keeps their place.
func sinkStatus(sinks []*unit, st *spool.Stats) []admin.Sink {
	kept := map[string]*spool.SinkStats{}
	for i := range st.Sinks {
		kept[st.Sinks[i].Name] = &st.Sinks[i]
	}
	var list []admin.Sink
	for _, u := range sinks {
		is := u.status()
		s := admin.Sink{Name: u.name, Plugin: u.plugin, Version: is.Version, State: admin.State(is.State), Restarts: is.Restarts, Error: is.Error}
		if why := u.lane.Waiting(); s.Error == "" && why != "" {
			s.Error = why
		}
		if u.gate.isPaused() {
			s.State, s.Error = admin.Paused, ""
		}
		count(&s, kept[u.name])
		delete(kept, u.name)
		list = append(list, s)
	}
	for name, k := range kept {
		s := admin.Sink{Name: name, State: admin.Parked, Error: "not in the configuration; what waits for it is kept"}
		count(&s, k)
		list = append(list, s)
	}
	slices.SortStableFunc(list[len(sinks):], func(a, b admin.Sink) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// count takes what the spool knows of a sink; nil is nothing.
func count(s *admin.Sink, k *spool.SinkStats) {
	if k != nil {
		s.Delivered, s.Backlog, s.Dead = k.Delivered, k.Backlog, k.Dead
		s.Held, s.HeldSince = k.Held, timeOf(k.HeldSince)
	}
}

func (h *Host) poolStatus() admin.Pool {
	pool, _ := h.db.now() // why there is none is an alarm
	if pool == nil {
		return admin.Pool{MaxOpen: h.now().cfg.Database.Pool.MaxOpen}
	}
	p := pool.Stats()
	s := admin.Pool{
		Open: p.Open, InUse: p.InUse, Idle: p.Idle, WaitCount: p.WaitCount, WaitDuration: p.WaitDuration.Seconds(), MaxOpen: p.MaxOpen,
		Waiting: p.Waiting, Abandoned: p.Abandoned, Down: p.Breaker.Open,
	}
	for _, k := range p.Holders {
		s.Holders = append(s.Holders, admin.Holder{Name: k.Name, InUse: k.InUse, Oldest: k.Oldest.Seconds(), Statement: k.Statement})
	}
	return s
}

func (h *Host) databaseFault() error {
	pool, why := h.db.now()
	switch {
	case pool != nil:
		return down(pool.Stats().Breaker)
	case why == errNotOpenYet: //nolint:errorlint // the sentinel itself, set here and never wrapped
		return nil
	}
	return why
}

// down says since when a server is away, and why.
func down(b dbpool.Breaker) error {
	if !b.Open {
		return nil
	}
	return fmt.Errorf("the database server is away since %s: %s; records wait in the spool, and it is tried again", b.Since.Local().Format(time.DateTime), b.Cause)
}

// filling says how full the spool is and which sink holds it, from half of its cap on; else nothing.
func (h *Host) filling(st *spool.Stats) string {
	limit := mib(h.now().cfg.Spool.MaxSizeMB)
	if limit == 0 {
		return ""
	}
	used := st.Bytes + st.Letters
	for _, mark := range []int64{95, 80, 50} {
		if used >= limit/100*mark {
			text := fmt.Sprintf("the spool is at more than %d %% of spool.max_size_mb (%d of %d MiB)", mark, used>>20, limit>>20)
			return text + holder(st)
		}
	}
	return ""
}

// holder names what fills the spool.
func holder(st *spool.Stats) string {
	const full = "; when it is full, devices are told that nothing more is taken"
	var slowest, kept *spool.SinkStats
	for i := range st.Sinks {
		k := &st.Sinks[i]
		if k.Backlog > 0 && (slowest == nil || k.Cursor < slowest.Cursor) {
			slowest = k
		}
		if k.Held+k.Dead > 0 && (kept == nil || k.Held+k.Dead > kept.Held+kept.Dead) {
			kept = k
		}
	}
	switch {
	case kept != nil && st.Letters > st.Bytes:
		return fmt.Sprintf(": %d exams without a patient are held back from the sink %s, and it has %d dead letters: hostd exams --unassigned, hostd dead list%s",
			kept.Held, kept.Name, kept.Dead, full)
	case slowest != nil:
		return fmt.Sprintf(": the sink %s holds it, for which %d records wait%s", slowest.Name, slowest.Backlog, full)
	}
	return "; what fills it is delivered, and goes with spool.keep and keep_size_mb"
}
