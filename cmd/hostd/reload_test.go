package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// configured writes hostd.yaml anew: the head that it has, changed, and another rest.
func (c *clinic) configured(rest string, changes ...string) {
	c.t.Helper()
	head := strings.Join(strings.SplitAfter(c.read("hostd.yaml"), "\n")[:headLines], "")
	c.write("hostd.tmp", strings.NewReplacer(changes...).Replace(head)+rest)
	if err := os.Rename(c.path("hostd.tmp"), c.path("hostd.yaml")); err != nil {
		c.t.Fatal(err)
	}
}

// headLines are those of the head that newClinic writes.
const headLines = 5

// reloaded has hostd reload take the files, and wants it to say what.
func (c *clinic) reloaded(what ...string) {
	c.t.Helper()
	out := c.must("reload")
	for _, w := range what {
		if !strings.Contains(out, w) {
			c.t.Errorf("reload does not say %q: %s", w, out)
		}
	}
}

// numbers are those of a device's records in the lines of a file sink, in their order. A record's id ends with its number.
func (c *clinic) numbers(dir, device string) (list []int) {
	c.t.Helper()
	files, err := filepath.Glob(c.path(dir + "/*.ndjson"))
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(files)
	for _, f := range files {
		for _, line := range readLines(c.t, f) {
			var r struct{ Device, ID string }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				c.t.Fatalf("%v: %s", err, line)
			}
			if r.Device != device {
				continue
			}
			var n int
			if _, err := fmt.Sscan(r.ID[strings.LastIndexByte(r.ID, '-')+1:], &n); err != nil {
				c.t.Fatalf("%v: %s", err, line)
			}
			list = append(list, n)
		}
	}
	return list
}

// whole wants every record of a device from first to the newest, in order and once.
func (c *clinic) whole(dir, device string, first int) {
	c.t.Helper()
	list := c.numbers(dir, device)
	for i, n := range list {
		if n != first+i {
			c.t.Errorf("%s: record %d where %d should be, of %d in %s", device, n, first+i, len(list), dir)
			return
		}
	}
	if len(list) == 0 {
		c.t.Errorf("%s: nothing in %s", device, dir)
	}
}

// ups counts how often a device or sink has come up.
func (c *clinic) ups(kind, name string) int {
	n := 0
	for line := range strings.Lines(c.log()) {
		if strings.Contains(line, "msg=up ") && strings.Contains(line, kind+"="+name) {
			n++
		}
	}
	return n
}

// TestReload adds, removes and changes devices and sinks under load: what is not named misses nothing and is not started anew.
func TestReload(t *testing.T) {
	t.Parallel()
	const steady = "devices:\n  - {name: steady, plugin: generator, settings: {rate: 2000}}\n"
	const archive = "sinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\n"
	c := newClinic(t, steady+"  - {name: leaves, plugin: generator, settings: {rate: 500}}\n  - {name: varies, plugin: generator, settings: {rate: 200}}\n"+archive+
		"  - {name: second, plugin: file, settings: {dir: second}}\n")
	c.start()
	c.until("all deliver", func(s status) bool {
		return device(s, "steady").Records > 500 && device(s, "leaves").Records > 0 && device(s, "varies").Records > 0 && sink(s, "second").Delivered > 0
	})
	c.configured(steady +
		"  - {name: varies, plugin: generator, settings: {rate: 2000}}\n  - {name: comes, plugin: generator, settings: {count: 300}}\n" + archive +
		"  - {name: third, plugin: file, settings: {dir: third}}\nroutes:\n  - {from: comes, to: [third], also: true}\n  - {to: [archive]}\n")
	c.reloaded("devices added: comes", "devices removed: leaves", "devices changed: varies", "sinks added: third", "sinks removed: second", "changed: routes")
	s := c.until("the new ones deliver", func(s status) bool { return sink(s, "third").Delivered == 300 })
	if d := device(s, "leaves"); d.Name != "" || sink(s, "second").State != "parked" {
		t.Errorf("%+v", s)
	}
	at := device(s, "varies").Records
	c.until("the changed one goes on", func(s status) bool { return device(s, "varies").Records > at+1000 })
	second := len(c.numbers("second", "steady"))

	// The sink that left comes back and goes on where it was.
	c.configured(steady+archive+"  - {name: second, plugin: file, settings: {dir: second}}\n", "clinic: test", "clinic: again")
	c.reloaded("sinks added: second", "devices removed: varies, comes", "clinic")
	c.until("the one that came back delivers", func(s status) bool {
		return sink(s, "second").State == "up" && sink(s, "second").Delivered > uint64(second)+500
	})
	c.reloaded("nothing has changed")

	if c.ups("device", "steady") != 1 || c.ups("sink", "archive") != 1 || c.ups("device", "varies") != 2 {
		t.Errorf("came up: steady %d, archive %d, varies %d times", c.ups("device", "steady"), c.ups("sink", "archive"), c.ups("device", "varies"))
	}
	audit := c.read("data/audit.ndjson")
	if strings.Count(audit, `"what":"reload"`) != 2 || !strings.Contains(audit, `"added":["comes"]`) {
		t.Errorf("audit: %s", audit)
	}
	if body, _ := c.get("/metrics"); !strings.Contains(body, `hostd_config_reloads_total{result="ok"} 2`) {
		t.Error("the metric does not have two reloads")
	}
	if out := c.must("status"); !strings.Contains(out, "2 reloads") || !strings.HasPrefix(out, "again:") {
		t.Errorf("status: %s", out)
	}
	c.stop()
	for _, d := range []string{"steady", "leaves", "varies", "comes"} {
		c.whole("archive", d, 1)
	}
	if got := len(c.numbers("third", "comes")); got != 300 {
		t.Errorf("third has %d records of comes, want 300", got)
	}
}

// TestReloadRefusesWhole: with one fault nothing is changed, all are told everywhere, and the old configuration goes on.
func TestReloadRefusesWhole(t *testing.T) {
	t.Parallel()
	const gen = "devices:\n  - {name: gen, plugin: generator, settings: {rate: 500}}\nsinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\n"
	c := newClinic(t, gen)
	c.start()
	c.configured("devices:\n  - {name: gen, plugin: generator, settings: {cuont: 3}}\n  - {name: new, plugin: foldr}\n"+
		"sinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\nroutes:\n  - {to: [arkive]}\nspool: {seal: true}\n", "clinic: test", "clinic: never")
	wants := []string{"hostd.yaml:", "cuont", "did you mean count", "foldr", "arkive", "spool.seal", "start it again"}
	out, errs, code := c.hostd("reload")
	if code != 2 || out != "" {
		t.Errorf("exit %d: %s", code, out)
	}
	said := c.must("status")
	page, _ := c.get("/")
	js, _, code := c.hostd("reload", "--json")
	if code != 2 || !json.Valid([]byte(js)) {
		t.Errorf("reload --json: exit %d, %s", code, js)
	}
	for _, want := range wants {
		for where, text := range map[string]string{"reload": errs, "status": said, "log": c.log()} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", where, want, text)
			}
		}
	}
	s := c.until("an alarm", func(s status) bool { return len(s.Alarms) == 1 })
	if s.Alarms[0].Code != "config_refused" || !strings.Contains(page, "is refused") || !strings.HasPrefix(said, "test:") {
		t.Errorf("%+v\n%s", s, said)
	}
	if body, _ := c.get("/metrics"); !strings.Contains(body, `hostd_config_reloads_total{result="refused"} 2`) || !strings.Contains(body, `hostd_alarm_active{code="config_refused"`) {
		t.Error("the metrics do not say it")
	}
	at := device(s, "gen").Records
	c.until("the old one goes on", func(s status) bool { return device(s, "gen").Records > at+200 && sink(s, "archive").Delivered > at })

	// Not YAML, or not there: the same; and the old text is well again.
	c.configured("devices: {\n")
	if _, errs, code := c.hostd("reload"); code != 2 || !strings.Contains(errs, "not YAML") {
		t.Errorf("exit %d: %s", code, errs)
	}
	c.configured(gen, "clinic: never", "clinic: test")
	c.reloaded("nothing has changed")
	c.until("no alarm", func(s status) bool { return len(s.Alarms) == 0 })
	if n := c.ups("device", "gen"); n != 1 {
		t.Errorf("the device came up %d times", n)
	}
	c.stop()
	c.whole("archive", "gen", 1)
}

// TestReloadOfLimits changes what is no device and no sink, under load, by a change of the files alone.
func TestReloadOfLimits(t *testing.T) {
	t.Parallel()
	const flow = "devices:\n  - {name: a, plugin: generator, settings: {rate: 1000}}\n  - {name: b, plugin: generator, settings: {rate: 1000}}\n" +
		"sinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\n  - {name: emr, plugin: sql}\n"
	c := newClinic(t, flow+"workers: {size: 8}\ndatabase: {pool: {monitor: {enabled: false}}}\n")
	c.start()
	c.until("all deliver", func(s status) bool { return sink(s, "archive").Delivered > 500 && sink(s, "emr").Delivered > 0 })
	if strings.Contains(c.log(), "DB Pool Status") {
		t.Error("the monitor is off, and writes")
	}
	pools := func() int { return strings.Count(c.log(), "DB Pool Status") }
	c.configured(flow+"workers: {size: 1, queue: 2}\ncache: {capacity: 7, ttl: 1m}\nspool: {keep: 1h, max_size_mb: 300}\n"+
		"database: {pool: {max_open: 3, slow_query: 1ms, query_log: true, monitor: {enabled: true, interval: 1s}}}\n", "level: info", "level: debug")
	c.waits("the file is taken, and the monitor writes", func() bool { return pools() >= 3 })
	if body, _ := c.get("/metrics"); !strings.Contains(body, "hostd_workers_size 1\n") || !strings.Contains(body, "hostd_pool_max_open 3\n") {
		t.Error("the sizes are not those of the file")
	}
	c.waits("queries are logged", func() bool { return strings.Contains(c.log(), `msg="database operation"`) })
	c.configured(flow+"workers: {size: 5}\ndatabase: {pool: {monitor: {enabled: true, interval: 1h}}}\n", "level: debug", "level: warn")
	c.reloaded("workers.size, workers.queue", "logging.level", "database.pool.monitor.interval")
	log := c.log()
	at := c.status()
	c.until("it goes on", func(s status) bool {
		return device(s, "a").Records > device(at, "a").Records+2500 && sink(s, "archive").Delivered > sink(at, "archive").Delivered+4000
	})
	if more := strings.TrimPrefix(c.log(), log); strings.Contains(more, "level=info") || strings.Contains(more, "level=debug") {
		t.Errorf("logged above the level, or by the monitor:\n%s", more)
	}
	c.stop()
	for _, d := range []string{"a", "b"} {
		c.whole("archive", d, 1)
		if n := c.ups("device", d); n != 1 {
			t.Errorf("device %s came up %d times", d, n)
		}
	}
}

// TestReloadOfTheRate holds that a device which brings all it can is held to its rate while there is another one, until a reload
// takes the limit or the other one away.
func TestReloadOfTheRate(t *testing.T) {
	t.Parallel()
	const (
		flood = "devices:\n  - {name: flood, plugin: generator}\n"
		other = "  - {name: other, plugin: generator, settings: {count: 10}}\n"
		rest  = "sinks: [{name: archive, plugin: file, settings: {dir: archive}}]\nworkers: {device_rate_mb: %d}\n"
	)
	c := newClinic(t, flood+other+fmt.Sprintf(rest, 1))
	c.start()
	for _, free := range []string{flood + other + fmt.Sprintf(rest, 0), flood + fmt.Sprintf(rest, 1)} {
		c.until("the flood is held", func(s status) bool { return device(s, "flood").HeldMS > 200 })
		c.configured(free)
		c.reloaded()
		at := device(c.status(), "flood")
		now := device(c.until("it brings what takes seconds at its rate", func(s status) bool {
			return device(s, "flood").Records > at.Records+10_000
		}), "flood")
		if more := now.HeldMS - at.HeldMS; more > 1000 { // the wait in which the reload came is counted at its end
			t.Errorf("held for %d ms more, without a limit or without others", more)
		}
		c.configured(flood + other + fmt.Sprintf(rest, 1))
		c.reloaded()
		held := now.HeldMS
		c.until("it is held again", func(s status) bool { return device(s, "flood").HeldMS > held+300 })
	}
	if n := c.ups("device", "flood"); n != 1 {
		t.Errorf("it came up %d times", n)
	}
	c.stop()
	c.whole("archive", "flood", 1)
}

// waits for a condition that is not in the status.
func (c *clinic) waits(what string, ok func() bool) {
	c.t.Helper()
	c.until(what, func(status) bool { return ok() })
}
