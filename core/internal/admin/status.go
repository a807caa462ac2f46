package admin

import (
	"time"

	"github.com/hostd/hostd/core/internal/logs"
)

// Source is the host as admin sees it. Both are called at each request and scrape, beside each other, and must answer
// from memory.
type Source interface {
	// Status is the host now.
	Status() Status
	// Ready is nil once the spool is open and every device was tried once, else what is still missing.
	Ready() error
}

// State of a device or sink.
type State string

// States of a device or sink.
const (
	Starting    State = "starting"
	Up          State = "up"
	Silent      State = "silent"       // up, and nothing came for longer than expected
	Paused      State = "paused"       // by an operator
	Parked      State = "parked"       // a sink that left the configuration; its cursor is kept
	Failing     State = "failing"      // start or Open failed, also between tries
	BackingOff  State = "backing_off"  // waiting after a run that was up
	BreakerOpen State = "breaker_open" // no more tries
	Unapproved  State = "unapproved"   // the plugin is not trusted yet
	Removed     State = "removed"
	Stopped     State = "stopped"
)

// Status is the host at one moment: the body of /api/v1/status, and the only source of the metrics and the page.
// Durations are seconds; a time that does not exist is null; a list is never null.
type Status struct {
	Clinic    string    `json:"clinic"`
	Version   string    `json:"version"`  // of hostd
	DataDir   string    `json:"data_dir"` // full path
	StartedAt time.Time `json:"started_at"`
	Ready     bool      `json:"ready"` // filled by admin, from Source.Ready
	Devices   []Device  `json:"devices"`
	Sinks     []Sink    `json:"sinks"`
	Pool      Pool      `json:"pool"`
	Cache     Cache     `json:"cache"`
	Spool     Spool     `json:"spool"`
	Workers   Workers   `json:"workers"`
	Config    Config    `json:"config"`
	Alarms    []Alarm   `json:"alarms"`
}

// Config is about the configuration in effect. Counts begin with the process.
type Config struct {
	LoadedAt  time.Time  `json:"loaded_at"`  // at the start, or by the newest reload that changed something
	Reloads   uint64     `json:"reloads"`    // that changed something
	Refusals  uint64     `json:"refusals"`   // reloads that changed nothing because something was wrong
	RefusedAt *time.Time `json:"refused_at"` // null: what is in the files is in effect
	Faults    []string   `json:"faults"`     // why the newest was refused
}

// Device is one configured device. Counts begin with the spool's first record, Received and Restarts with the process.
type Device struct {
	Name         string     `json:"name"`
	Plugin       string     `json:"plugin"`
	Version      string     `json:"version"` // of the plugin; empty until it has started once
	State        State      `json:"state"`
	Records      uint64     `json:"records"`  // on the host's disk
	Received     uint64     `json:"received"` // from the plugin, stored or refused
	HeldMillis   int64      `json:"held_ms"`  // since the host started: to workers.device_rate_mb
	LastRecordAt *time.Time `json:"last_record_at"`
	Restarts     uint64     `json:"restarts"` // of the plugin's process
	Error        string     `json:"error"`    // why it is not up, or the last refusal; empty when all is well
}

// Sink is one configured sink. Delivered, Backlog, Dead and Held add up to the records that were routed to it, but for those that an
// operator has dropped or put in again.
type Sink struct {
	Name      string     `json:"name"`
	Plugin    string     `json:"plugin"`
	Version   string     `json:"version"`
	State     State      `json:"state"`
	Delivered uint64     `json:"delivered"`
	Backlog   uint64     `json:"backlog"`
	Dead      uint64     `json:"dead"`
	Held      uint64     `json:"held"`       // exams without a patient that are kept until they are assigned
	HeldSince *time.Time `json:"held_since"` // when the oldest of them was received
	Restarts  uint64     `json:"restarts"`
	Error     string     `json:"error"`
}

// Pool is the guarded database pool.
type Pool struct {
	Open         int      `json:"open"`
	InUse        int      `json:"in_use"`
	Idle         int      `json:"idle"`
	WaitCount    uint64   `json:"wait_count"`
	WaitDuration float64  `json:"wait_duration"` // seconds, of all waits together
	MaxOpen      int      `json:"max_open"`
	Waiting      int      `json:"waiting"`   // operations that wait for a connection now
	Abandoned    uint64   `json:"abandoned"` // connections given up because the database did not answer
	Down         bool     `json:"down"`      // the server is away: operations are refused at once, and one probe tries again
	Holders      []Holder `json:"holders"`
}

// Holder is who has connections of the pool now.
type Holder struct {
	Name      string  `json:"name"`      // of the sink, or of the host's part
	InUse     int     `json:"in_use"`    // connections
	Oldest    float64 `json:"oldest"`    // seconds that the oldest operation has run
	Statement string  `json:"statement"` // fingerprint of that operation, never with values
}

// Cache is the host's cache.
type Cache struct {
	Entries int    `json:"entries"`
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
	Loads   uint64 `json:"loads"`
}

// Spool is what is on the host's own disk.
type Spool struct {
	Records     uint64     `json:"records"` // stored ever
	Bytes       int64      `json:"bytes"`   // of its files now
	OldestAt    *time.Time `json:"oldest_at"`
	Quarantined int        `json:"quarantined"` // damaged ranges that were set aside
	Unrouted    uint64     `json:"unrouted"`    // records that no route matched, ever

	NewestFile   string `json:"newest_file"`   // name of the file that is written to; empty before the first record
	NewestSynced int64  `json:"newest_synced"` // bytes of it that are on the disk; behind them the next ones are being written
}

// Workers is the worker pool.
type Workers struct {
	Size   int `json:"size"`
	Busy   int `json:"busy"`
	Queued int `json:"queued"`
}

// Alarm is something that a person should look at.
type Alarm struct {
	Code    string    `json:"code"`    // stable word, for scripts
	Subject string    `json:"subject"` // name of the device or sink, or empty for the host
	Since   time.Time `json:"since"`
	Text    string    `json:"text"` // what to check
}

// status asks the source once and makes the answer whole, its texts masked as the log's are.
func status(src Source) Status {
	s := src.Status()
	s.Ready = src.Ready() == nil
	s.Devices = masked(s.Devices, func(d *Device) *string { return &d.Error })
	s.Sinks = masked(s.Sinks, func(k *Sink) *string { return &k.Error })
	s.Alarms = masked(s.Alarms, func(a *Alarm) *string { return &a.Text })
	s.Config.Faults = masked(s.Config.Faults, func(f *string) *string { return f })
	if s.Pool.Holders == nil {
		s.Pool.Holders = []Holder{}
	}
	return s
}

// masked is a copy of the list with one text of each entry masked; empty, not nil, which would be null in JSON.
func masked[T any](list []T, text func(*T) *string) []T {
	list = append([]T{}, list...)
	for i := range list {
		t := text(&list[i])
		*t = logs.Mask(*t)
	}
	return list
}
