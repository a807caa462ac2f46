package incident

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Flags of the replay. They stand behind the package: go test -run TestIncident ./internal/incident -v -records 3000.
var (
	records   = flag.Int("records", 600, "device records, for each of the two")
	rate      = flag.Float64("rate", 300, "of them a second")
	pool      = flag.Int("pool", 38, "connections, for each of the two")
	leakEvery = flag.Int("leak-every", 8, "of the naive program: a record in so many takes the path that forgets Scan")
	plays     = flag.String("acts", "flood,deaf,storm,cache,refused,huge,forever,writer,panic,stop", "of the rogue, in their order; hold and exit are the others")
	each      = flag.Duration("each", 150*time.Millisecond, "how long an act of the rogue lasts, unless it ends its process")
)

// operation is the host's operation_timeout here, short so that the replay is.
const operation = time.Second

// point is one look at a pool.
type point struct {
	at                    time.Duration
	inUse, waits, arrived int
	act                   string // of the rogue
}

// TestIncident has the same records go through both. The naive program must starve: else the replay shows nothing.
func TestIncident(t *testing.T) {
	if testing.Short() {
		*records, *leakEvery, *plays = 300, 4, "flood,forever,panic"
	}
	naive, stored := runNaive(t)
	t.Logf("the naive program: a pool of %d, SQLite\n%s", *pool, curve(naive, *pool, "waiting"))
	hostd, delivered := runHostd(t)
	t.Logf("hostd beside the rogue: a pool of %d, SQLite\n%s", *pool, curve(hostd, *pool, "waited"))
	t.Logf("records that arrived, of %d: %d through the naive program, %d through hostd", *records, stored, delivered)

	last := naive[len(naive)-1]
	if stored == *records || last.inUse != *pool || last.waits == 0 {
		t.Errorf("the naive program did not starve: %d of %d stored, %d of %d connections in use, %d wait", stored, *records, last.inUse, *pool, last.waits)
	}
	if delivered != *records {
		t.Errorf("%d of %d records arrived through hostd", delivered, *records)
	}
}

// runNaive gives the curve, and how many records are in its database.
func runNaive(t *testing.T) (list []point, stored int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "naive.db")
	ctx, cancel := context.WithTimeout(t.Context(), *patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program(t, "naive"), "-db", path, "-count", strconv.Itoa(*records), "-rate", fmt.Sprint(*rate),
		"-pool", strconv.Itoa(*pool), "-leak-every", strconv.Itoa(*leakEvery), "-stay", "1s").CombinedOutput()
	if err != nil {
		t.Fatalf("naive: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var p point
		var ms int64
		if _, err := fmt.Sscanf(line, "%d,%d,%d,%d", &ms, &p.inUse, &p.waits, &p.arrived); err != nil {
			t.Fatalf("naive printed %q: %v", line, err)
		}
		p.at = time.Duration(ms) * time.Millisecond
		list = append(list, p)
	}
	return list, rows(t, path, "SELECT count(*) FROM exam")
}

const incidentConfig = `
logging: {level: info, file: {path: log/hostd.log}}
database: {pool: {max_open: %d, per_sink: 8, acquire_timeout: 500ms, operation_timeout: %s, slow_query: 500ms, monitor: {interval: 1s, warn_at: 15%%}}}
shutdown: {grace: 5s}
devices: [{name: ark, plugin: generator, settings: {count: %d, rate: %g, size: 600}}]
sinks:
  - {name: emr, plugin: sql}
  - {name: rogue, plugin: rogue, batch: 5, timeout: 1s, settings: {acts: %q, each: %s}}
`

// runHostd gives the curve until every record has arrived, the rogue has played every act and nobody has a connection
// any more, and how many exams are in the database.
func runHostd(t *testing.T) (list []point, arrived int) {
	t.Helper()
	c := newClinic(t, fmt.Sprintf(incidentConfig, *pool, operation, *records, *rate, *plays, *each))
	c.launch()
	began, waits, next := time.Now(), uint64(0), time.Now()
	c.until("every record has arrived, every act is played and every connection is back", func() bool {
		s, err := c.status()
		if err != nil {
			return false // not up yet
		}
		p := point{
			at: time.Since(began), inUse: s.Pool.InUse, waits: int(s.Pool.WaitCount - waits),
			arrived: int(s.delivered("emr")), act: c.act(),
		}
		if now := time.Now(); !now.Before(next) {
			list, waits, next = append(list, p), s.Pool.WaitCount, now.Add(look)
		}
		return p.arrived >= *records && p.act == "rest" && s.Pool.InUse == 0
	})
	c.stop()
	played := c.played()
	for a := range strings.SplitSeq(*plays, ",") {
		if !strings.Contains(played, " "+a+"\n") {
			t.Errorf("the rogue did not play %s:\n%s", a, played)
		}
	}
	log := c.read("log/hostd.log")
	if !testing.Short() && strings.Contains(*plays, "forever") && !strings.Contains(log, "slow database operation\" component=dbpool holder=rogue") {
		t.Error("no line of the log names the rogue as the holder of a statement that does not end")
	}
	for l := range strings.Lines(log) {
		if strings.Contains(l, "pool usage high") {
			t.Logf("hostd said: %s", l)
			break
		}
	}
	return list, rows(t, c.path("data/hostd.db"), "SELECT count(*) FROM exam")
}

func (c *clinic) played() string { return c.read("data/state/sinks/rogue/acts.txt") }

// act is what the rogue plays now.
func (c *clinic) act() string {
	words := strings.Fields(c.played())
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// curve draws a pool over time, and has its figures for a table.
func curve(list []point, most int, waits string) string {
	const width = 38
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %6s %8s %8s  in use of %d\n", "seconds", "in_use", waits, "arrived", most)
	for _, p := range list {
		bar := strings.Repeat("#", p.inUse*width/most)
		fmt.Fprintf(&b, "%8.2f,%6d,%8d,%8d |%-*s| %s\n", p.at.Seconds(), p.inUse, p.waits, p.arrived, width, bar, p.act)
	}
	return b.String()
}
