package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/spool"
)

// Codes of alarms.
const (
	alarmFilling    = "spool_filling"
	alarmFull       = "disk_full"
	alarmLost       = "database_lost"
	alarmDatabase   = "database_unavailable"
	alarmQuarantine = "spool_damaged"
	alarmMissing    = "spool_file_missing"
	alarmParked     = "sink_parked"
	alarmDead       = "dead_letters"
	alarmSilent     = "device_silent"
	alarmConfig     = "config_refused"
	alarmBreaker    = "breaker_open"
)

// givenUp is about a plugin that crashes again and again.
const givenUp = "its plugin %s crashes again and again: %s. Mend what that says, or put another version of the plugin there, then hostd %s resume %s"

// alarms remembers since when each one stands.
type alarms struct {
	mu    sync.Mutex
	since map[alarmKey]time.Time // guarded by mu
}

type alarmKey struct{ code, subject string }

// troubles are what alarms are about and a Status does not say.
type troubles struct {
	database error    // why there is none, or that it was lost
	full     bool     // the disk has no room
	filling  string   // how full the spool is; empty while there is nothing to say
	missing  []string // files of the spool that somebody has deleted
	silent   []admin.Alarm
	plugins  []admin.Alarm
}

func (h *Host) troubles(st *spool.Stats) troubles {
	t := troubles{database: h.databaseFault(), full: st.Low, filling: h.filling(st), missing: h.missing.list(), plugins: h.pluginAlarms()}
	for _, u := range h.now().devices {
		if text := u.silence.text(); text != "" {
			t.silent = append(t.silent, admin.Alarm{Code: alarmSilent, Subject: u.name, Text: text})
		}
	}
	if t.database == nil && h.db.losses() > 0 {
		t.database = errVanished
	}
	return t
}

// of gives the alarms that stand, and forgets those that do not.
func (a *alarms) of(s *admin.Status, t troubles) []admin.Alarm {
	var list []admin.Alarm
	add := func(code, subject, format string, args ...any) {
		list = append(list, admin.Alarm{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)})
	}
	if t.database != nil {
		code := alarmDatabase
		if errors.Is(t.database, errVanished) {
			code = alarmLost
		}
		add(code, "", "%v", t.database)
	}
	switch {
	case t.full:
		add(alarmFull, "", "the disk of data_dir is full: devices are told that nothing is taken, delivery goes on; make room, and intake goes on by itself")
	case t.filling != "":
		add(alarmFilling, "", "%s", t.filling)
	}
	if n := len(t.missing); n > 0 {
		add(alarmMissing, "", "%d files of the spool were deleted while hostd runs (the first is %s): put them back into the folder spool of data_dir, from the recycle bin or "+
			"the antivirus program's quarantine, and then hostd replay for each sink; what no sink has yet is lost otherwise. Keep other programs away from data_dir", n, t.missing[0])
	}
	if n := s.Spool.Quarantined; n > 0 {
		add(alarmQuarantine, "", "%d damaged ranges of the spool were set aside: see the folder spool/quarantine in data_dir, hostd spool verify, and check the disk", n)
	}
	list = append(append(list, t.silent...), t.plugins...)
	if f := s.Config.Faults; len(f) > 0 {
		more := ""
		if len(f) > 1 {
			more = fmt.Sprintf(" (and %d more)", len(f)-1)
		}
		add(alarmConfig, "", "the newest configuration is refused, and the one before goes on: %s%s; hostd reload says all, and hostd check checks what you mend", f[0], more)
	}
	for i := range s.Devices {
		if d := &s.Devices[i]; d.State == admin.BreakerOpen {
			add(alarmBreaker, d.Name, givenUp, d.Plugin, d.Error, "devices", d.Name)
		}
	}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		if k.State == admin.BreakerOpen {
			add(alarmBreaker, k.Name, givenUp, k.Plugin, k.Error, "sinks", k.Name)
		}
		if k.State == admin.Parked {
			add(alarmParked, k.Name, "it is not in the configuration, and %d records wait for it: add it again, or hostd spool forget %s", k.Backlog+k.Held, k.Name)
		}
		if k.Dead > 0 {
			add(alarmDead, k.Name, "%d records were given up: hostd dead list says why", k.Dead)
		}
	}
	a.stamp(list)
	return list
}

func (a *alarms) stamp(list []admin.Alarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stands := map[alarmKey]time.Time{}
	for i := range list {
		k := alarmKey{list[i].Code, list[i].Subject}
		since, known := a.since[k]
		if !known {
			since = time.Now().UTC()
		}
		stands[k], list[i].Since = since, since
	}
	a.since = stands
}

// missing are the files of the spool that were deleted since the start. One that comes back is no loss; one that the spool has
// let go of meanwhile is.
type missing struct {
	mu    sync.Mutex
	names []string // guarded by mu: sorted
}

func (m *missing) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.names)
}

// note takes what is missing now, of which there says whether a file is in the folder. It gives what was not known, and what came
// back.
func (m *missing) note(now []string, there func(name string) bool) (lost, back []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range now {
		if !slices.Contains(m.names, name) {
			lost = append(lost, name)
		}
	}
	m.names = slices.DeleteFunc(m.names, func(name string) bool {
		found := there(name)
		if found {
			back = append(back, name)
		}
		return found
	})
	m.names = append(m.names, lost...)
	slices.Sort(m.names)
	return lost, back
}

// watchEvery is how often that is done which watch does.
const watchEvery = 2 * time.Second

// watch looks for files of the spool that somebody deletes while the host runs, for devices that should send and do not, and for
// plugins that logged too fast.
func (h *Host) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		h.lookForSilence(time.Now())
		h.logs.TellDropped()
		now, err := h.spool.Missing()
		if err != nil {
			h.log.Debug("files of the spool not looked for", "err", err)
			continue
		}
		lost, back := h.missing.note(now, func(name string) bool {
			_, err := os.Stat(filepath.Join(h.places.spool, name))
			return err == nil
		})
		for _, name := range lost {
			h.log.Error("a file of the spool is missing: somebody has deleted it; see the alarm "+alarmMissing, "file", name)
		}
		for _, name := range back {
			h.log.Info("a file of the spool is back", "file", name)
		}
	}
}
