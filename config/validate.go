package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of lists.
const (
	maxDevices = 512
	maxSinks   = 64 // as many as a record's routes can tell apart
	maxRoutes  = 512
	maxClinic  = 64 // bytes of the clinic's name
)

// Validate holds the rules that values must obey together: ranges, names, addresses, routes. A name of a device or
// sink is 1 to 64 lower-case letters, digits, dashes and underscores, begins with a letter or digit, is unique among
// both, and no name of a Windows device, since it names a folder. The error is Faults.
func (c *Config) Validate() error { return c.check(nil).err() }

// checker gathers faults; those of keys that have one already would only repeat it.
type checker struct {
	c      *Config
	bad    map[string]bool
	faults Faults
}

func (c *Config) check(bad map[string]bool) Faults {
	v := &checker{c: c, bad: bad}
	v.host()
	v.logging()
	v.database()
	v.lists()
	v.devices()
	v.sinks()
	v.names()
	v.routes()
	return v.faults
}

func (v *checker) fault(key, text, hint string) {
	if v.bad[key] {
		return
	}
	at := v.c.marks.at(key)
	v.faults = append(v.faults, Fault{File: at.file, Line: at.line, Key: key, Text: text, Hint: hint})
}

// said is a value as it was written: what comes through a reference is not shown.
func (v *checker) said(key, value string) string {
	return cmp.Or(v.c.marks[key].raw, value)
}

// near is a hint where a known value is near.
func (v *checker) near(key, value string, known []string) string {
	if best := nearest(value, known); best != "" && v.c.marks[key].raw == "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// meant is a hint for a value that should be one of the known ones.
func (v *checker) meant(key, value string, known []string) string {
	if v.c.marks[key].raw != "" {
		return ""
	}
	return didYouMean(value, known)
}

func (v *checker) number(key string, n, low, high int) {
	if n < low || n > high {
		v.fault(key, fmt.Sprintf("must be %d to %d", low, high), "")
	}
}

func (v *checker) span(key string, d, low, high time.Duration) {
	if d < low || d > high {
		v.fault(key, "must be "+Short(low)+" to "+Short(high), "")
	}
}

// word holds a value to the words of this version.
func (v *checker) word(key, value string, known []string) {
	if !slices.Contains(known, value) {
		v.fault(key, "must be "+strings.Join(known, " or "), v.near(key, value, known))
	}
}

func (v *checker) filled(key, value string) {
	if value == "" {
		v.fault(key, "must not be empty", "")
	}
}

func (v *checker) host() {
	c := v.c
	if len(c.Clinic) > maxClinic || strings.ContainsFunc(c.Clinic, func(r rune) bool { return r < ' ' }) {
		v.fault("clinic", fmt.Sprintf("must be one line of at most %d bytes", maxClinic), "")
	}
	v.filled("data_dir", c.DataDir)
	v.trust()
	v.number("plugins.memory_mb", c.Plugins.MemoryMB, leastMemory, mostMemory)
	v.number("workers.size", c.Workers.Size, 1, 256)
	v.number("workers.queue", c.Workers.Queue, 1, 65536)
	v.number("workers.device_rate_mb", c.Workers.DeviceRateMB, 0, 10_000)
	v.span("intake.answer_timeout", c.Intake.AnswerTimeout, 100*time.Millisecond, 5*time.Minute)
	v.number("cache.capacity", c.Cache.Capacity, 1, 1_000_000)
	v.span("cache.ttl", c.Cache.TTL, time.Second, 24*time.Hour)
	v.number("spool.segment_size_mb", c.Spool.SegmentSizeMB, 1, 1024)
	v.spool()
	v.span("shutdown.grace", c.Shutdown.Grace, 100*time.Millisecond, 10*time.Minute)
	v.listen("admin.listen", c.Admin.Listen)
}

// longestKeep is the most of spool.keep.
const longestKeep = 10 * 365 * 24 * time.Hour

func (v *checker) spool() {
	s := &v.c.Spool
	v.span("spool.keep", s.Keep, 0, longestKeep)
	v.number("spool.keep_size_mb", s.KeepSizeMB, 0, 1<<24)
	v.number("spool.max_size_mb", s.MaxSizeMB, 0, 1<<24)
	v.number("spool.reserve_mb", s.ReserveMB, 0, 10240)
	if s.MaxSizeMB > 0 && s.MaxSizeMB < 4*s.SegmentSizeMB {
		v.fault("spool.max_size_mb", "is less than 4 segments", "write at least 4 times segment_size_mb")
	}
	key, err := s.KeyBytes()
	switch {
	case err != nil:
		v.fault("spool.key", err.Error(), "hostd spool key makes one")
	case s.Seal && key == nil:
		v.fault("spool.key", "is missing, and seal is on", "write ${file:path}, ${env:NAME} or, on Windows, ${dpapi:path}; hostd spool key makes one")
	}
	if at := v.c.marks.at("spool.key"); key != nil && at.file != fromEnvironment && !reference.MatchString(at.raw) && !v.c.AllowPlainSecrets {
		v.fault("spool.key", "is a secret and stands in plain", "write ${env:NAME}, ${file:path} or, on Windows, ${dpapi:path} in its place, or allow_plain_secrets: true")
	}
}

func (v *checker) listen(key, addr string) {
	host, port, err := net.SplitHostPort(addr)
	n, numeric := strconv.ParseUint(port, 10, 16)
	if err != nil || numeric != nil || host == "" || n > 65535 {
		v.fault(key, "must be host:port", "write e.g. 127.0.0.1:8480")
		return
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		v.fault(key, "can be reached from the network, which is not in this version", "write e.g. 127.0.0.1:8480")
	}
}

var (
	levelWords = []string{"debug", "info", "warn", "error"}
	component  = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)?$`)
)

func (v *checker) logging() {
	g := &v.c.Logging
	v.word("logging.level", g.Level, levelWords)
	for _, k := range slices.Sorted(maps.Keys(g.Levels)) {
		key := join("logging.levels", k)
		if !component.MatchString(k) {
			v.fault(key, "is not the name of a component", "write e.g. spool, device or device.NAME")
		}
		v.word(key, g.Levels[k], levelWords)
	}
	v.word("logging.format", g.Format, []string{"text", "json"})
	v.number("logging.file.max_size_mb", g.File.MaxSizeMB, 1, 10240)
	v.number("logging.file.max_backups", g.File.MaxBackups, 1, 10000)
	v.number("logging.file.max_age_days", g.File.MaxAgeDays, 1, 3650)
}

func (v *checker) database() {
	d := &v.c.Database
	v.word("database.driver", d.Driver, Drivers())
	v.dsn(d)
	v.span("database.receipts.keep", d.Receipts.Keep, 24*time.Hour, 20*365*24*time.Hour)
	if keep := v.c.Spool.Keep; d.Receipts.Keep <= keep && keep <= longestKeep {
		v.fault("database.receipts.keep", "is not longer than spool.keep: what a replay brings back would be written twice", "write more than "+Short(keep))
	}
	v.pool(&d.Pool)
}

// dsn holds that a server has an address, and the embedded database none.
func (v *checker) dsn(d *Database) {
	const key = "database.dsn"
	switch {
	case v.plainPassword(key, d.DSN), !slices.Contains(Drivers(), d.Driver): // has a fault already
	case d.Embedded() && d.DSN != "":
		v.fault(key, "is for a server, and driver is "+embedded+", the database that is embedded in hostd", "name the server's driver, or leave dsn out")
	case !d.Embedded() && strings.TrimSpace(d.DSN.Reveal()) == "":
		v.fault(key, "is missing: it says where the server is and how to log in", "write ${file:path}, ${env:NAME} or, on Windows, ${dpapi:path}, which have e.g. "+exampleDSN[d.Driver])
	}
}

// exampleDSN is one for each server.
var exampleDSN = map[string]string{
	"postgres":  "postgres://USER:PASSWORD@HOST:5432/DATABASE",
	"sqlserver": "sqlserver://USER:PASSWORD@HOST:1433?database=DATABASE",
}

func (v *checker) pool(p *Pool) {
	v.number("database.pool.max_open", p.MaxOpen, 2, 256)
	if p.MaxOpen >= 2 && p.MaxOpen <= 256 {
		v.number("database.pool.max_idle", p.MaxIdle, 1, p.MaxOpen)
		v.number("database.pool.per_sink", p.PerSink, 0, p.MaxOpen)
	}
	v.span("database.pool.max_lifetime", p.MaxLifetime, time.Minute, 24*time.Hour)
	v.span("database.pool.acquire_timeout", p.AcquireTimeout, 10*time.Millisecond, time.Minute)
	v.span("database.pool.operation_timeout", p.OperationTimeout, 100*time.Millisecond, 10*time.Minute)
	v.span("database.pool.connect_timeout", p.ConnectTimeout, 100*time.Millisecond, 2*time.Minute)
	if p.SlowQuery != 0 {
		v.span("database.pool.slow_query", p.SlowQuery, time.Millisecond, 10*time.Minute)
	}
	v.span("database.pool.monitor.interval", p.Monitor.Interval, time.Second, time.Hour)
	if p.Monitor.WarnAt < 1 || p.Monitor.WarnAt > 100 {
		v.fault("database.pool.monitor.warn_at", "must be 1% to 100%", "")
	}
}

// Forms of a password in a data source name: a key with its value, and a URL's user part.
var (
	passwordKey = regexp.MustCompile(`(?i)(?:^|[;?&\s])(?:password|sslpassword|passwd|pwd)\s*=\s*('[^']*'|"[^"]*"|[^;&\s]*)`)
	passwordURL = regexp.MustCompile(`://[^/?#:@]*:(.*)@`)
	reference   = regexp.MustCompile(`^\$\{(?:env|file|dpapi):[^}]+\}$`)
)

// plainPassword refuses a password that stands in a file or a flag. The environment is a place for secrets already.
func (v *checker) plainPassword(key string, dsn Secret) (found bool) {
	at := v.c.marks.at(key)
	if v.c.AllowPlainSecrets || at.file == fromEnvironment {
		return false
	}
	text := dsn.Reveal()
	if at.raw != "" {
		text = at.raw
	}
	for _, form := range []*regexp.Regexp{passwordKey, passwordURL} {
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			if word := strings.Trim(m[1], `'"`); word != "" && !reference.MatchString(word) {
				v.fault(key, "has a plain password", "write ${env:NAME}, ${file:path} or, on Windows, ${dpapi:path} in its place, or allow_plain_secrets: true")
				return true
			}
		}
	}
	return false
}

// Short writes a duration without its zero parts: 5m, not 5m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
