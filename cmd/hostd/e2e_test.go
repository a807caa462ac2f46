package main_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what came as want.jsonl and failed.txt")

// TestCases runs every folder of testdata/cases: its hostd.yaml, fed with the files of its in/, must give the records of
// want.jsonl in the file sink's lines, in any order, and the files of failed.txt in a folder failed.
func TestCases(t *testing.T) {
	cases, err := filepath.Glob("testdata/cases/*/hostd.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			config, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := newClinic(t, string(config))
			if err := os.CopyFS(c.path("in"), os.DirFS(filepath.Join(dir, "in"))); err != nil {
				t.Fatal(err)
			}
			fed := c.below("in", "*.xml")
			c.start()
			c.until("all files put away", func(s status) bool {
				done := c.below("in", "*/done/*.xml", "*/TXT/done/*.xml", "done/*.xml", "failed/*.xml", "*/failed/*.xml")
				return len(done) == len(fed) && sink(s, "emr").Backlog == 0 && sink(s, "archive").Backlog == 0
			})
			got, failed := c.archived(), c.below("in", "failed/*.xml", "*/failed/*.xml")
			c.showsRejects(len(failed))
			c.stop()
			compare(t, filepath.Join(dir, "want.jsonl"), got)
			compare(t, filepath.Join(dir, "failed.txt"), failed)
			for _, f := range failed {
				if reasons := c.below("in", "failed/"+filepath.Base(f)+"*.txt", "*/failed/"+filepath.Base(f)+"*.txt"); len(reasons) != 1 {
					t.Errorf("%s has %d reason files, want 1", f, len(reasons))
				}
			}
		})
	}
}

// showsRejects wants so many inputs that could not be read, each of which can be looked at.
func (c *clinic) showsRejects(want int) {
	c.t.Helper()
	var list []struct {
		Seq    uint64            `json:"seq"`
		Labels map[string]string `json:"labels"`
	}
	if err := json.Unmarshal([]byte(c.must("dead", "list", "--rejects", "--json")), &list); err != nil || len(list) != want {
		c.t.Fatalf("%d rejects, want %d, %v", len(list), want, err)
	}
	for _, r := range list {
		if out := c.must("dead", "show", fmt.Sprint(r.Seq), "--patient-data"); r.Labels["reason"] == "" || !strings.Contains(out, r.Labels["reason"]) {
			c.t.Errorf("reject %d: %+v\n%s", r.Seq, r, out)
		}
	}
}

// below gives the files below dir that match one of the patterns, with the path from there; "*.xml" alone means all XML
// files at any depth.
func (c *clinic) below(dir string, patterns ...string) (list []string) {
	c.t.Helper()
	err := filepath.WalkDir(c.path(dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(c.path(dir), p)
		rel = filepath.ToSlash(rel)
		for _, pat := range patterns {
			name := rel
			if pat == "*.xml" {
				name = path.Base(rel)
			}
			if ok, _ := path.Match(pat, name); ok {
				list = append(list, rel)
				break
			}
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

// compare holds lines against a file, in any order; with -update it writes the file.
func compare(t *testing.T, name string, got []string) {
	t.Helper()
	slices.Sort(got)
	if *update {
		if err := os.WriteFile(name, []byte(strings.Join(got, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := readLines(t, name)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// archived gives device and data of each line in the folder archive, as in want.jsonl.
func (c *clinic) archived() (lines []string) {
	c.t.Helper()
	files, err := filepath.Glob(c.path("archive/*.ndjson"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range files {
		for _, line := range readLines(c.t, f) {
			var r struct {
				Device string          `json:"device"`
				Kind   string          `json:"kind"`
				Data   json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				c.t.Fatalf("line of the archive: %v\n%s", err, line)
			}
			lines = append(lines, fmt.Sprintf(`{"device":%q,"kind":%q,"data":%s}`, r.Device, r.Kind, r.Data))
		}
	}
	return lines
}

func readLines(t *testing.T, name string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func TestConfigFaultsAreListedTogether(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: gen, plugin: generator, settings: {cuont: 3, rate: fast}}
  - {name: tono, plugin: foldr}
sinks:
  - {name: archive, plugin: file, settings: {}}
routes:
  - {to: [arkive]}
`)
	for _, command := range []string{"check", "run"} {
		out, errs, code := c.hostd(command, "-c", "hostd.yaml")
		if code != 2 {
			t.Fatalf("%s: exit %d, want 2\n%s%s", command, code, out, errs)
		}
		for _, want := range []string{"arkive", "archive", "cuont", "count", "rate", "foldr", "folder", "dir"} {
			if !strings.Contains(errs, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, errs)
			}
		}
	}
	if out, _, code := c.hostd("check", "-c", "hostd.yaml", "--json"); code != 2 || !json.Valid([]byte(out)) {
		t.Errorf("check --json: exit %d\n%s", code, out)
	}
}

func (c *clinic) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// TestBadPluginsAreTheirDevicesFailureAlone: each names its reason in the status, and the good device delivers.
func TestBadPluginsAreTheirDevicesFailureAlone(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: good, plugin: generator, settings: {count: 500}}
  - {name: prints, plugin: chatty}
  - {name: exits, plugin: quitter}
  - {name: hangs, plugin: silent}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`)
	c.inbox("chatty", "quitter", "silent")
	c.start()
	fails := func(s status, name string) bool {
		return device(s, name).State == "failing" || device(s, name).State == "breaker_open"
	}
	s := c.until("the bad ones fail", func(s status) bool {
		return fails(s, "prints") && fails(s, "exits") && strings.Contains(device(s, "hangs").Error, "no handshake") && sink(s, "archive").Delivered == 500
	})
	for name, want := range map[string]string{"prints": "before serving", "exits": "licence not found", "hangs": "no handshake"} {
		if d := device(s, name); !strings.Contains(d.Error, want) {
			t.Errorf("%s: the error does not say %q: %s", name, want, d.Error)
		}
	}
	if d := device(s, "good"); d.State != "up" {
		t.Errorf("the good device is %s: %s", d.State, d.Error)
	}
	if body, code := c.get("/readyz"); code != http.StatusOK {
		t.Errorf("not ready: %s", body)
	}
	c.stop()
}

// TestCrashLoop: a device and a sink whose plugins end again and again are given up with an alarm that says why and what to
// do, and are tried again when an operator says so.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: gen, plugin: generator, settings: {count: 50}}
  - {name: exits, plugin: frail}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
  - {name: broken, plugin: frailsink}
`)
	c.inbox("frail", "frailsink")
	c.start()
	s := c.until("both are given up", func(s status) bool {
		return device(s, "exits").State == "breaker_open" && sink(s, "broken").State == "breaker_open" && sink(s, "archive").Delivered == 50
	})
	for name, of := range map[string]string{"exits": "devices", "broken": "sinks"} {
		text := ""
		for _, a := range s.Alarms {
			if a.Code == "breaker_open" && a.Subject == name {
				text = a.Text
			}
		}
		for _, want := range []string{"frail", "exit status 7", "hostd " + of + " resume " + name} {
			if !strings.Contains(text, want) {
				t.Errorf("the alarm of %s does not say %q: %q", name, want, text)
			}
		}
	}
	if out := c.must("status"); !strings.Contains(out, "breaker_open") || !strings.Contains(out, "exit status 7") {
		t.Errorf("status:\n%s", out)
	}
	if body, _ := c.get("/metrics"); !strings.Contains(body, `hostd_alarm_active{code="breaker_open",subject="exits"} 1`) {
		t.Error("the metrics do not have the alarm")
	}
	if n := device(s, "exits").Restarts; n != 4 {
		t.Errorf("started again %d times before it was given up, want 4", n)
	}
	c.must("devices", "resume", "exits")
	c.must("sinks", "resume", "broken")
	c.until("tried again", func(s status) bool { return device(s, "exits").Restarts > 4 && sink(s, "broken").Restarts > 4 })
	c.stop()
}

// TestARefusedRecordIsADeadLetter: the sink refuses ids that end in 7; the rest is delivered, and all are accounted for.
func TestARefusedRecordIsADeadLetter(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: gen, plugin: generator, settings: {count: 1000}}
sinks:
  - {name: picky, plugin: picky, batch: 100}
  - {name: archive, plugin: file, settings: {dir: archive}}
`)
	c.start()
	s := c.until("all settled", func(s status) bool {
		k := sink(s, "picky")
		return device(s, "gen").Records == 1000 && k.Backlog == 0 && sink(s, "archive").Delivered == 1000
	})
	if k := sink(s, "picky"); k.Dead != 100 || k.Delivered != 900 {
		t.Fatalf("dead %d, delivered %d; want 100 and 900", k.Dead, k.Delivered)
	}
	ids := readLines(t, c.path("data/state/sinks/picky/ids.txt"))
	if len(ids) != 900 {
		t.Fatalf("the sink has %d ids, want 900", len(ids))
	}
	if !strings.Contains(c.log(), "an id that ends in 7") {
		t.Error("the log does not have the reason")
	}
	body, _ := c.get("/metrics")
	for _, want := range []string{`hostd_dead_letters{sink="picky"} 100`, `hostd_records_delivered_total{sink="archive"} 1000`, `hostd_records_spooled_total{device="gen"} 1000`} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	c.stop()
}

// TestTheOutsideInterface looks at what scripts and monitoring rely on.
func TestTheOutsideInterface(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: gen, plugin: generator, settings: {count: 10}}
sinks:
  - {name: emr, plugin: sql}
`)
	if out, errs, code := c.hostd("check"); code != 0 || !strings.HasPrefix(out, "ok: 1 devices, 1 sinks") {
		t.Fatalf("check: exit %d\n%s%s", code, out, errs)
	}
	if _, errs, code := c.hostd("status"); code != 1 || !strings.Contains(errs, "is it running") {
		t.Errorf("status without a host: exit %d, %s", code, errs)
	}
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 10 })
	if body, code := c.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d %s", code, body)
	}
	if body, code := c.get("/"); code != http.StatusOK || !strings.Contains(body, "gen") {
		t.Errorf("page: %d %s", code, body)
	}
	if out, errs, code := c.hostd("status", "--json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("status: exit %d\n%s%s", code, out, errs)
	}
	if out, _, code := c.hostd("status"); code != 0 || !strings.Contains(out, "generator") {
		t.Errorf("status: exit %d\n%s", code, out)
	}
	out, errs, code := c.hostd("exams", "--json")
	var exams []map[string]any
	if err := json.Unmarshal([]byte(out), &exams); code != 0 || err != nil || len(exams) != 10 {
		t.Errorf("exams: exit %d, %v, %d exams\n%s%s", code, err, len(exams), out, errs)
	}
	if _, errs, code := c.hostd("run"); code != 3 || !strings.Contains(errs, "another hostd") {
		t.Errorf("a second host on the same folder: exit %d, want 3\n%s", code, errs)
	}
	if out, _, code := c.hostd("version"); code != 0 || !strings.HasPrefix(out, "hostd ") {
		t.Errorf("version: exit %d %s", code, out)
	}
	c.stop()
	if _, err := os.Stat(c.path("data/hostd.db")); err != nil {
		t.Error(err)
	}
}
