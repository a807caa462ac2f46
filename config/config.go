package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// Config is the whole configuration. Load makes it; relative paths in it are seen from the working directory of the
// process.
type Config struct {
	Clinic            string   `yaml:"clinic"`
	DataDir           string   `yaml:"data_dir"`            // spool, blobs, plugin store, embedded database
	AllowPlainSecrets bool     `yaml:"allow_plain_secrets"` // secrets may stand in a file as they are
	Plugins           Plugins  `yaml:"plugins"`
	Workers           Workers  `yaml:"workers"`
	Intake            Intake   `yaml:"intake"`
	Logging           Logging  `yaml:"logging"`
	Database          Database `yaml:"database"`
	Cache             Cache    `yaml:"cache"`
	Admin             Admin    `yaml:"admin"`
	Spool             Spool    `yaml:"spool"`
	Shutdown          Shutdown `yaml:"shutdown"`
	Devices           []Device `yaml:"devices"`
	Sinks             []Sink   `yaml:"sinks"`
	Routes            []Route  `yaml:"routes"` // none: everything to every sink

	marks marks           // where each key was written
	bad   map[string]bool // keys that have a fault already
}

// Plugins says where binaries are found and which may run.
type Plugins struct {
	Dir      string   `yaml:"dir"`       // where binaries are dropped in, with NAME.yaml beside NAME
	Trust    string   `yaml:"trust"`     // folder: what is in the folder runs; pinned: what is in Pins; signed: what one of Keys has signed
	Pins     []string `yaml:"pins"`      // SHA-256 in lower-case hex
	Keys     []string `yaml:"keys"`      // ed25519 public keys in base64
	MemoryMB int      `yaml:"memory_mb"` // that a plugin may use where its device or sink says nothing else, 64 to 65536
}

// Workers bounds the pool that runs every job.
type Workers struct {
	Size  int `yaml:"size"`  // 1 to 256
	Queue int `yaml:"queue"` // jobs that wait, 1 to 65536
	// MiB a second that one device may bring for long while there are others, 0 to 10000; 0: as many as it can.
	DeviceRateMB int `yaml:"device_rate_mb"`
}

// Intake is about what comes from devices.
type Intake struct {
	AnswerTimeout time.Duration `yaml:"answer_timeout"` // every batch is answered within; 100ms to 5m
}

// Logging says what is logged, how and where.
type Logging struct {
	Level  string            `yaml:"level"`  // debug, info, warn, error
	Levels map[string]string `yaml:"levels"` // by component, "device.NAME" or "sink.NAME"
	Format string            `yaml:"format"` // text or json
	File   LogFile           `yaml:"file"`
}

// LogFile is the rolling log file.
type LogFile struct {
	Path       string `yaml:"path"`         // empty: no file
	MaxSizeMB  int    `yaml:"max_size_mb"`  // a file is rolled at this size, 1 to 10240
	MaxBackups int    `yaml:"max_backups"`  // rolled files that stay, 1 to 10000
	MaxAgeDays int    `yaml:"max_age_days"` // rolled files stay this long, 1 to 3650
	Compress   bool   `yaml:"compress"`     // rolled files
}

// Database is the one database that sinks share through the host.
type Database struct {
	Driver   string   `yaml:"driver"` // one of Drivers
	DSN      Secret   `yaml:"dsn"`    // address and login of a server; empty for the embedded database in data_dir
	Receipts Receipts `yaml:"receipts"`
	Pool     Pool     `yaml:"pool"`
}

// Embedded says that the database is a file in data_dir, and no server.
func (d *Database) Embedded() bool { return d.Driver == embedded }

const embedded = "sqlite"

// Drivers are the databases that this version knows, the embedded one first: those for which package dbpool has a
// dialect.
func Drivers() []string { return []string{embedded, "postgres", "sqlserver"} }

// Receipts are the notes by which a record that comes again is known.
type Receipts struct {
	Keep time.Duration `yaml:"keep"` // longer than spool.keep; 24h to 175200h
}

// Pool bounds the connections to the database and every operation on them.
type Pool struct {
	MaxOpen          int           `yaml:"max_open"`          // 2 to 256
	MaxIdle          int           `yaml:"max_idle"`          // 1 to max_open; max_open where it is not written
	MaxLifetime      time.Duration `yaml:"max_lifetime"`      // of a connection, 1m to 24h
	AcquireTimeout   time.Duration `yaml:"acquire_timeout"`   // wait for a connection, 10ms to 1m
	OperationTimeout time.Duration `yaml:"operation_timeout"` // one operation on it, 100ms to 10m
	ConnectTimeout   time.Duration `yaml:"connect_timeout"`   // dial and login, 100ms to 2m
	SlowQuery        time.Duration `yaml:"slow_query"`        // longer operations are logged, 1ms to 10m; 0s is off
	PerSink          int           `yaml:"per_sink"`          // connections of one sink, 1 to max_open; 0: half of them while other sinks ask too, else all but one
	Monitor          Monitor       `yaml:"monitor"`
	QueryLog         bool          `yaml:"query_log"` // each statement by its fingerprint, at debug
}

// Monitor is the regular status line of the pool.
type Monitor struct {
	Enabled  bool          `yaml:"enabled"`
	Interval time.Duration `yaml:"interval"` // 1s to 1h
	WarnAt   Percent       `yaml:"warn_at"`  // of max_open in use, 1% to 100%
}

// Cache is the one cache of looked-up rows.
type Cache struct {
	Capacity int           `yaml:"capacity"` // entries, 1 to 1000000
	TTL      time.Duration `yaml:"ttl"`      // nothing older is served, 1s to 24h
}

// Admin is the page, the metrics and the API.
type Admin struct {
	Listen string `yaml:"listen"` // host:port on loopback; port 0 takes a free one
}

// Spool is the log of records on disk.
type Spool struct {
	SegmentSizeMB int           `yaml:"segment_size_mb"` // 1 to 1024
	Keep          time.Duration `yaml:"keep"`            // settled records stay this long, for a replay; 0s to 87600h
	KeepSizeMB    int           `yaml:"keep_size_mb"`    // and no more of them than this; 0 (not written): as max_size_mb allows
	MaxSizeMB     int           `yaml:"max_size_mb"`     // at which no more is taken; 0: no bound, else at least 4 segments
	ReserveMB     int           `yaml:"reserve_mb"`      // kept free for cursors on a full disk, 0 to 10240
	Seal          bool          `yaml:"seal"`            // new files are encrypted with key
	Key           Secret        `yaml:"key"`             // 32 bytes in base64 or hex; see hostd spool key
}

// KeyBytes is the key, or nil where none is written. An error does not quote it.
func (s *Spool) KeyBytes() ([]byte, error) {
	text := strings.TrimSpace(s.Key.Reveal())
	if text == "" {
		return nil, nil
	}
	if b, err := hex.DecodeString(text); err == nil && len(b) == sealKeySize {
		return b, nil
	}
	if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) == sealKeySize {
		return b, nil
	}
	return nil, errors.New("must be 32 bytes in base64 or hex")
}

const sealKeySize = 32

// Shutdown is the end of the host.
type Shutdown struct {
	Grace time.Duration `yaml:"grace"` // for everything to drain, 100ms to 10m
}

// Device is one piece of equipment and the plugin that speaks with it.
type Device struct {
	Name     string         `yaml:"name"`   // also of its folder; see the rules of a name in Validate
	Plugin   string         `yaml:"plugin"` // name of the binary without its extension
	Schedule Schedule       `yaml:"schedule"`
	Expect   Expect         `yaml:"expect"`
	MemoryMB int            `yaml:"memory_mb"` // that its plugin may use; 0 (not written): plugins.memory_mb
	LogLevel string         `yaml:"log_level"` // empty: logging.level
	Settings map[string]any `yaml:"settings"`  // the plugin's own, references resolved
}

// Schedule says when a polled device is read.
type Schedule struct {
	Every   time.Duration `yaml:"every"`   // 10ms to 24h; 0 (not written) and no cron: as the plugin's manifest says
	Cron    string        `yaml:"cron"`    // in the place of every; see ParseCron
	Offset  time.Duration `yaml:"offset"`  // each due time comes later by this much, 0s to 24h
	Jitter  time.Duration `yaml:"jitter"`  // and by a random part of this, 0s to 1h, no more than every
	Window  string        `yaml:"window"`  // it is read only then; see ParseHours
	Timeout time.Duration `yaml:"timeout"` // of one poll, 100ms to 1h
}

// Expect is what a device does while it is well; one that does not is an alarm.
type Expect struct {
	Every  time.Duration `yaml:"every"`  // a record at least so often, 1m to 744h; 0 (not written): nothing is expected
	During string        `yaml:"during"` // the hours in which it is; see ParseHours
}

// Sink is one receiver of records and the plugin that writes to it.
type Sink struct {
	Name     string        `yaml:"name"`
	Plugin   string        `yaml:"plugin"`
	Batch    int           `yaml:"batch"`     // records in a delivery, 1 to 1000
	InFlight int           `yaml:"in_flight"` // deliveries at a time, 1 to 8
	Timeout  time.Duration `yaml:"timeout"`   // of one delivery, 1s to 1h
	Start    string        `yaml:"start"`     // now or oldest: where a new sink begins
	// Unassigned is Deliver or Hold: whether an exam that names no patient goes to the sink, or is held back until it is assigned.
	Unassigned string         `yaml:"unassigned"`
	MemoryMB   int            `yaml:"memory_mb"` // that its plugin may use; 0 (not written): plugins.memory_mb
	LogLevel   string         `yaml:"log_level"` // empty: logging.level
	Settings   map[string]any `yaml:"settings"`  // the plugin's own, references resolved
}

// Words of Sink.Unassigned.
const (
	Deliver = "deliver"
	Hold    = "hold"
)

// Route sends records that fit all its patterns to sinks. In a pattern * is any text; an empty one fits everything.
type Route struct {
	From   string            `yaml:"from"` // device
	Kind   string            `yaml:"kind"`
	Labels map[string]string `yaml:"labels"`
	To     []string          `yaml:"to"`
	Also   bool              `yaml:"also"` // go on to the next route after this one
}

// Default is the configuration of a host that is told nothing.
func Default() *Config {
	return &Config{
		DataDir: "data",
		Plugins: Plugins{Dir: "plugins", Trust: "folder", MemoryMB: 512},
		Workers: Workers{Size: 8, Queue: 256, DeviceRateMB: 8},
		Intake:  Intake{AnswerTimeout: 5 * time.Second},
		Logging: Logging{
			Level: "info", Format: "text",
			File: LogFile{Path: "log/hostd.log", MaxSizeMB: 100, MaxBackups: 90, MaxAgeDays: 90, Compress: true},
		},
		Database: Database{Driver: embedded, Receipts: Receipts{Keep: 400 * 24 * time.Hour}, Pool: Pool{
			MaxOpen: 8, MaxIdle: 8, MaxLifetime: 30 * time.Minute,
			AcquireTimeout: 2 * time.Second, OperationTimeout: 10 * time.Second, ConnectTimeout: 5 * time.Second,
			SlowQuery: time.Second, Monitor: Monitor{Enabled: true, Interval: 10 * time.Second, WarnAt: 85},
		}},
		Cache:    Cache{Capacity: 1000, TTL: 30 * time.Minute},
		Admin:    Admin{Listen: "127.0.0.1:8480"},
		Spool:    Spool{SegmentSizeMB: 64, Keep: 7 * 24 * time.Hour, KeepSizeMB: 4096, MaxSizeMB: 20480, ReserveMB: 64},
		Shutdown: Shutdown{Grace: 10 * time.Second},
	}
}

// defaultSink and defaultDevice fill what an entry of a list does not write.
func defaultSink() Sink {
	return Sink{Batch: 1000, InFlight: 2, Timeout: 2 * time.Minute, Start: "now", Unassigned: Deliver}
}

func defaultDevice() Device {
	return Device{Schedule: Schedule{Timeout: 30 * time.Second}}
}

// LogLevels gives the levels by component together with those of single devices and sinks, as "device.NAME" and
// "sink.NAME"; where both are written, logging.levels wins.
func (c *Config) LogLevels() map[string]string {
	levels := map[string]string{}
	for _, d := range c.Devices {
		if d.LogLevel != "" {
			levels["device."+d.Name] = d.LogLevel
		}
	}
	for _, s := range c.Sinks {
		if s.LogLevel != "" {
			levels["sink."+s.Name] = s.LogLevel
		}
	}
	for k, v := range c.Logging.Levels {
		levels[k] = v
	}
	return levels
}
