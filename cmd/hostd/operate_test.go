package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// must runs a command that has to succeed.
func (c *clinic) must(args ...string) string {
	c.t.Helper()
	out, errs, code := c.hostd(args...)
	if code != 0 {
		c.t.Fatalf("hostd %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

const operateConfig = `
spool: {segment_size_mb: 1, reserve_mb: 1%s}
devices:
  - {name: gen, plugin: generator, settings: {count: 200}}
sinks:
  - {name: picky, plugin: picky}
  - {name: emr, plugin: sql}
`

// TestOperating is an operator's day: dead letters are looked at, delivered once more and dropped, records replayed, a
// sink paused over a restart, and the spool verified and exported, all beside the running host.
func TestOperating(t *testing.T) {
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(operateConfig, ""))
	c.start()
	c.until("dead letters", func(s status) bool { return sink(s, "picky").Dead == 20 && sink(s, "emr").Delivered == 200 })

	var dead []struct {
		Seq    uint64 `json:"seq"`
		ID     string `json:"id"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal([]byte(c.must("dead", "--json")), &dead); err != nil || len(dead) != 20 || !strings.Contains(dead[0].Reason, "ends in 7") {
		t.Fatalf("%d dead letters, %v: %+v", len(dead), err, dead)
	}
	number := fmt.Sprint(dead[0].Seq)
	if out := c.must("dead", "show", number); !strings.Contains(out, dead[0].ID) || !strings.Contains(out, `"masked": true`) ||
		strings.Contains(strings.ReplaceAll(out, `"id": ""`, ""), `"birth": "1`) || strings.Contains(out, "birth\": \"2") {
		t.Errorf("a dead letter without its patient:\n%s", out)
	}
	if out := c.must("dead", "show", number, "--patient-data"); !strings.Contains(out, `"birth": "`) || strings.Contains(out, "masked") {
		t.Errorf("a dead letter with its patient:\n%s", out)
	}

	c.write("data/state/sinks/picky/lenient", "")
	if out := c.must("dead", "requeue", number); !strings.HasPrefix(out, "1 records") {
		t.Errorf("requeue one: %s", out)
	}
	c.must("dead", "requeue", "--all", "--sink", "picky")
	c.until("requeued", func(s status) bool { return sink(s, "picky").Dead == 0 && sink(s, "picky").Backlog == 0 })
	ids := readLines(t, c.path("data/state/sinks/picky/ids.txt"))
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 200 {
		t.Fatalf("the sink has %d of 200 records", n)
	}

	if out := c.must("replay", "--sink", "emr", "--dry-run"); !strings.HasPrefix(out, "200 records would") {
		t.Errorf("dry run: %s", out)
	}
	if out := c.must("replay", "--sink", "emr", "--id", "gen-1-7"); !strings.HasPrefix(out, "1 records") {
		t.Errorf("replay of one: %s", out)
	}
	c.must("replay", "--sink", "emr", "--kind", "ex*", "--device", "gen", "--from", "2020-01-01")
	s := c.until("replayed", func(s status) bool { return sink(s, "emr").Delivered == 401 })
	if k := sink(s, "emr"); k.Dead != 0 {
		t.Fatalf("a record that came again is a dead letter: %+v", k)
	}

	c.must("sinks", "pause", "emr")
	c.until("paused", func(s status) bool { return sink(s, "emr").State == "paused" })
	c.stop()
	c.start()
	c.until("still paused", func(s status) bool { return sink(s, "emr").State == "paused" && device(s, "gen").State == "up" })
	c.must("sinks", "resume", "emr")
	c.until("goes on", func(s status) bool { return sink(s, "emr").State == "up" })

	c.must("devices", "reset", "gen")
	s = c.until("made anew", func(s status) bool { return device(s, "gen").Records == 400 && sink(s, "emr").Delivered == 601 })
	if k := sink(s, "emr"); k.Dead != 0 {
		t.Fatalf("a record that was made anew is a dead letter: %+v", k)
	}

	if err := os.Remove(c.path("data/state/sinks/picky/lenient")); err != nil {
		t.Fatal(err)
	}
	c.must("replay", "--sink", "picky")
	c.until("dead again", func(s status) bool { return sink(s, "picky").Dead == 40 })
	if _, errs, code := c.hostd("dead", "drop", "--all"); code != 1 || !strings.Contains(errs, "reason") {
		t.Errorf("drop without a reason: exit %d, %s", code, errs)
	}
	if out := c.must("find", "--id", "gen-1-7"); strings.Count(out, "gen-1-7") < 2 || !strings.Contains(out, "emr: delivered") || !strings.Contains(out, "picky: dead (an id that ends in 7") {
		t.Errorf("find by id:\n%s", out)
	}
	c.must("dead", "drop", "--all", "--why", "the test is over")
	c.until("dropped", func(s status) bool { return sink(s, "picky").Dead == 0 })

	c.must("spool", "verify")
	c.must("spool", "export", "--to", "all.ndjson")
	if n := len(readLines(t, c.path("all.ndjson"))); n != 400 {
		t.Errorf("%d records exported, want 400", n)
	}
	c.stop()
	if n := one(t, c.database(), "SELECT count(*) FROM exam"); n != 200 {
		t.Fatalf("%d exams, want 200", n)
	}
	for _, want := range []string{`"dead.show"`, `"dead.requeue"`, `"replay"`, `"pause"`, `"dead.drop"`, "the test is over", `"spool.export"`} {
		if !strings.Contains(c.read("data/audit.ndjson"), want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
}

// TestADatabaseThatWasTakenAwayIsNamed: records that go into a file without a name would be gone; the host says so, opens
// a new one, and a replay fills it.
func TestADatabaseThatWasTakenAwayIsNamed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open database cannot be deleted there")
	}
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(operateConfig, ""))
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 200 })
	for _, f := range []string{"hostd.db", "hostd.db-wal", "hostd.db-shm"} {
		if err := os.Remove(c.path("data/" + f)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	c.until("the alarm", func(s status) bool {
		return len(s.Alarms) > 0 && strings.Contains(fmt.Sprint(s.Alarms), "database_lost")
	})
	c.must("replay", "--sink", "emr")
	c.until("replayed", func(s status) bool { return sink(s, "emr").Backlog == 0 && sink(s, "emr").Delivered == 400 })
	c.stop()
	if n := one(t, c.database(), "SELECT count(*) FROM exam"); n != 200 {
		t.Fatalf("%d exams in the new database, want 200", n)
	}
}

// TestSealedSpool: with a key everything works and nothing on the disk is readable; without it the host does not start,
// says so, and touches nothing.
func TestSealedSpool(t *testing.T) {
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(operateConfig, ", seal: true, key: '${file:spool.key}'"))
	key, errs, code := c.hostd("spool", "key")
	if code != 0 {
		t.Fatal(errs)
	}
	c.write("spool.key", key)
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 200 })
	c.must("spool", "verify")
	c.must("spool", "export", "--to", "all.ndjson")
	c.stop()
	if n := len(readLines(t, c.path("all.ndjson"))); n != 200 {
		t.Errorf("%d records exported, want 200", n)
	}
	segments := c.below("data/spool", "*.seg")
	if len(segments) == 0 {
		t.Fatal("no segments")
	}
	for _, f := range segments {
		if strings.Contains(c.read("data/spool/"+f), "patient") {
			t.Errorf("%s is readable", f)
		}
	}
	right := c.read("spool.key")
	c.write("spool.key", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if _, errs, code := c.hostd("run"); code == 0 || !strings.Contains(errs, "sealed") {
		t.Errorf("with another key: exit %d\n%s", code, errs)
	}
	c.write("spool.key", right)
	c.start()
	c.until("the same", func(s status) bool { return device(s, "gen").Records == 200 && sink(s, "emr").Delivered == 200 })
	c.stop()
}

// TestSinksComeAndGo: one that leaves the configuration is parked with what waits for it and goes on when it is back; a
// new one begins with the oldest record where it says so.
func TestSinksComeAndGo(t *testing.T) {
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(operateConfig, ""))
	c.write("data/state/sinks/picky/lenient", "")
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 200 && sink(s, "picky").Delivered == 200 })
	c.must("sinks", "pause", "emr")
	c.until("paused", func(s status) bool { return sink(s, "emr").State == "paused" })
	c.stop()
	with := c.read("hostd.yaml")
	more := strings.ReplaceAll(with, "count: 200", "count: 300")
	c.write("hostd.yaml", more)
	c.start()
	c.until("100 wait for emr", func(s status) bool { return sink(s, "emr").Backlog == 100 })
	c.stop()

	without := strings.Replace(more, "  - {name: emr, plugin: sql}\n", "  - {name: archive, plugin: file, start: oldest, settings: {dir: archive}}\n", 1)
	c.write("hostd.yaml", without)
	c.start()
	s := c.until("parked, and the new sink has all", func(s status) bool {
		return sink(s, "emr").State == "parked" && sink(s, "archive").Delivered == 300
	})
	if k := sink(s, "emr"); k.Backlog != 100 {
		t.Errorf("parked with %d waiting, want 100", k.Backlog)
	}
	if !slices.ContainsFunc(s.Alarms, func(a alarm) bool { return a.Code == "sink_parked" && a.Subject == "emr" }) {
		t.Errorf("no alarm about the parked sink: %+v", s.Alarms)
	}
	if _, errs, code := c.hostd("spool", "forget", "archive"); code != 1 || !strings.Contains(errs, "take it out first") {
		t.Errorf("forgetting a sink that is there: exit %d, %s", code, errs)
	}
	c.stop()

	c.write("hostd.yaml", more)
	c.start()
	c.until("still paused", func(s status) bool { return sink(s, "emr").State == "paused" })
	c.must("sinks", "resume", "emr")
	c.until("back, and given the rest", func(s status) bool { return sink(s, "emr").Delivered == 300 && sink(s, "emr").Backlog == 0 })
	c.stop()

	c.write("hostd.yaml", without)
	c.start()
	c.until("parked again", func(s status) bool { return sink(s, "emr").State == "parked" })
	c.must("spool", "forget", "emr")
	c.until("forgotten", func(s status) bool { return sink(s, "emr").Name == "" })
	c.stop()
	if n := one(t, c.database(), "SELECT count(*) FROM exam"); n != 300 {
		t.Fatalf("%d exams, want 300", n)
	}
}
