package spool

import (
	"errors"
	"os"
	"slices"
	"time"
)

// Stats is what the spool holds at one moment.
type Stats struct {
	Records     uint64    // stored ever
	Unrouted    uint64    // of them, for no sink
	Bytes       int64     // of the segments
	Letters     int64     // bytes of the files of dead letters
	Segments    int       // files
	Newest      string    // name of the file that is written to; empty without one
	Synced      int64     // bytes of it that are on the disk: the end that readers and Verify may rely on
	Oldest      time.Time // when the oldest segment was begun; zero without one
	Quarantined int       // damaged ranges that were set aside
	Low         bool      // the disk is full, and no records are taken until the reserve is there again
	Torn        int       // unfinished groups that were left out since Open
	Sinks       []SinkStats
	Devices     []DeviceStats
}

// SinkStats is a sink's part of Stats. Appended = Delivered + Dead + Held + Closed + Backlog, but for records lost to damage.
type SinkStats struct {
	ID        SinkID
	Name      string
	Cursor    uint64 // every record for it up to this seq is settled
	Appended  uint64 // records for it ever
	Delivered uint64 // settled and not dead
	Dead      uint64 // open dead letters
	Held      uint64 // held back, see Hold
	Closed    uint64 // letters that were put in again, dropped or replaced
	Backlog   uint64 // neither

	HeldSince time.Time // when the oldest held record was received; zero without one
}

// DeviceStats is a device's part of Stats.
type DeviceStats struct {
	Name     string
	Records  uint64    // stored ever
	Unrouted uint64    // of them, for no sink
	Latest   time.Time // when the newest that the device sent was received; zero without one
}

// Stats counts records that are synced, and cursors as they are now. It is cheap: no file is read.
func (s *Spool) Stats() Stats {
	dead := s.dead.counts()
	t := Stats{Letters: s.dead.size.Load()}
	t.Quarantined, t.Torn = s.bad.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Records, t.Segments = s.state.records, len(s.segments)
	for i, seg := range s.segments {
		t.Bytes += seg.end
		if i == 0 {
			t.Oldest = unixTime(seg.made)
		}
		t.Newest, t.Synced = seg.name, seg.end
	}
	t.Low = s.full != nil
	for i := range s.sinks {
		if s.sinks[i].name == forgottenName {
			continue
		}
		t.Sinks = append(t.Sinks, s.sinkStats(SinkID(i), dead[s.sinks[i].name]))
	}
	t.Devices = s.state.deviceStats()
	for i := range t.Devices {
		t.Unrouted += t.Devices[i].Unrouted
	}
	return t
}

// sinkStats is called with mu held.
func (s *Spool) sinkStats(id SinkID, open letterCount) SinkStats {
	live := &s.sinks[id]
	k := sinkState{cursor: live.cursor, settled: live.settled, lost: live.lost}
	if int(id) < len(s.state.sinks) {
		k.last, k.appended = s.state.sinks[id].last, s.state.sinks[id].appended
	}
	return SinkStats{
		ID: id, Name: live.name, Cursor: live.cursor, Appended: k.appended,
		Delivered: live.settled - min(live.died, live.settled), Dead: open.dead, Held: open.held, HeldSince: unixTime(open.since),
		Closed: live.died - min(open.dead+open.held, live.died), Backlog: k.backlog(),
	}
}

// Missing gives the names of the files that the log still needs and that are not in the folder: somebody has deleted them
// while the spool is open. It lists the folder, and may be called beside everything else.
func (s *Spool) Missing() ([]string, error) {
	before := s.names()
	infos, err := s.disk.dirs.List(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	there := map[string]bool{}
	for _, info := range infos {
		there[info.Name()] = true
	}
	// Run deletes a file before it leaves the list. It is the oldest then, and nobody needs it.
	if seg := s.needless(time.Now()); seg != nil {
		there[seg.name] = true
	}
	var missing []string
	for _, name := range s.names() {
		if !there[name] && slices.Contains(before, name) { // one that is made meanwhile is not in the listing
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// names are those of the segments, oldest first.
func (s *Spool) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, len(s.segments))
	for i, seg := range s.segments {
		list[i] = seg.name
	}
	return list
}
