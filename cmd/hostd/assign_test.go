package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const assignConfig = `
spool: {segment_size_mb: 1, keep: %s, reserve_mb: 1}
devices:
  - {name: share, plugin: folder, schedule: {every: 100ms}, settings: {dir: in, format: joia, settle: 50ms}}
  - {name: old, plugin: folder, schedule: {every: 100ms}, settings: {dir: old, format: joia, settle: 50ms}}
%ssinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
  - {name: ehr, plugin: file, unassigned: %s, settings: {dir: ehr}}
routes:
  - {from: share, to: [emr, archive, ehr]}
  - {from: old, to: [emr]}
  - {from: gen, to: [archive]}
`

// nobody writes an exam of nobody, with a sphere that tells it from others.
func (c *clinic) nobody(dir string, sphere string) {
	c.t.Helper()
	c.write(dir+"/EXAM_"+sphere+".xml", strings.NewReplacer("P%05d", "", "-1.25", sphere).Replace(export))
}

// assigned is the answer of hostd assign, and exams that of hostd exams.
type assigned struct {
	Device, Exam, Record string
	Already              bool
}

// unassigned are the exams that wait for a patient, as DEVICE/RECORD, in the order of the names.
func (c *clinic) unassigned() (list []string) {
	c.t.Helper()
	var exams []struct {
		Device       string `json:"device"`
		ID           string `json:"record_id"`
		Observations int    `json:"observations"`
	}
	out := c.must("exams", "--unassigned", "--json")
	if err := json.Unmarshal([]byte(out), &exams); err != nil {
		c.t.Fatal(err)
	}
	for _, e := range exams {
		if e.Observations == 0 {
			c.t.Errorf("an exam without findings is listed: %s", out)
		}
		list = append(list, e.Device+"/"+e.ID)
	}
	slices.Sort(list)
	return list
}

func (c *clinic) assign(args ...string) (a assigned) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.must(append([]string{"assign", "--json"}, args...)...)), &a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// patients are those of a file sink's lines, in their order, "nobody" for none. A record that was written again, after a kill, counts
// once.
func (c *clinic) patients(dir string) (list []string) {
	c.t.Helper()
	seen := map[string]bool{}
	for _, f := range c.below(dir, "*.ndjson") {
		for _, line := range readLines(c.t, c.path(dir+"/"+f)) {
			var r struct {
				ID   string
				Data struct {
					Patient      struct{ ID string }
					Observations []json.RawMessage
				}
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil || len(r.Data.Observations) == 0 {
				c.t.Fatalf("%v: %s", err, line)
			}
			if seen[r.ID] {
				continue
			}
			if seen[r.ID] = true; r.Data.Patient.ID == "" {
				r.Data.Patient.ID = "nobody"
			}
			list = append(list, r.Data.Patient.ID)
		}
	}
	return list
}

// refused runs a command that must fail with this exit code, and say this.
func (c *clinic) refuses(want int, says string, args ...string) {
	c.t.Helper()
	if out, errs, code := c.hostd(args...); code != want || !strings.Contains(errs, says) {
		c.t.Errorf("hostd %s: exit %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, says, out, errs)
	}
}

// TestAssigning: exams of nobody are flagged for one sink and held back from another, over restarts; a patient is named, the
// host is killed before anybody has it, and then each sink has it once, the database with its history. Held no more, the
// rest is delivered. Who the patient is stands in no log, and not in the audit.
func TestAssigning(t *testing.T) {
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(assignConfig, "1h", "", "hold"))
	c.refuses(3, "admin.token", "assign", "share/x", "--patient", "PAT-FIRST")
	c.refuses(3, "spool", "exams", "--unassigned")
	c.start()
	c.nobody("in", "-2.00")
	c.nobody("in", "-3.00")
	c.write("in/EXAM_known.xml", fmt.Sprintf(export, 7))
	held := func(delivered, held uint64) func(status) bool {
		return func(s status) bool {
			k := sink(s, "ehr")
			return k.Delivered == delivered && k.Held == held && k.Backlog == 0
		}
	}
	c.until("two are held", held(1, 2))
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 3 && sink(s, "archive").Delivered == 3 })
	c.stop()
	c.start()
	c.until("still held", held(1, 2))
	list := c.unassigned()
	if len(list) != 2 {
		t.Fatalf("unassigned: %q", list)
	}
	if out := c.must("dead", "list", "--held"); strings.Count(out, "ehr") != 2 {
		t.Errorf("held:\n%s", out)
	}
	if out := c.must("status"); !strings.Contains(out, "2 since 20") {
		t.Errorf("status:\n%s", out)
	}

	c.refuses(2, "DEVICE/RECORD", "assign", "share", "--patient", "X")
	c.refuses(2, "id is missing", "assign", list[0])
	c.refuses(2, "YYYY-MM-DD", "assign", list[0], "--patient", "X", "--birth", "yesterday")
	c.refuses(1, "has no exam", "assign", "share/nothing", "--patient", "X")

	c.must("sinks", "pause", "emr")
	c.must("sinks", "pause", "ehr")
	a := c.assign(list[0], "--patient", "PAT-FIRST", "--name", "Muster Anna")
	c.kill()
	c.start()
	if again := c.assign(list[0], "--patient", "PAT-FIRST"); !again.Already || again.Record != a.Record || again.Exam != a.Exam {
		t.Errorf("assigned again: %+v, first %+v", again, a)
	}
	c.until("both wait for the assigned exam", func(s status) bool { return sink(s, "emr").Backlog == 1 && sink(s, "ehr").Backlog == 1 })
	if left := c.unassigned(); !slices.Equal(left, list[1:]) {
		t.Errorf("unassigned: %q, want %q", left, list[1:])
	}
	c.must("sinks", "resume", "emr")
	c.must("sinks", "resume", "ehr")
	c.until("one is held", held(2, 1))
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 4 && sink(s, "archive").Delivered == 4 })
	c.refuses(1, "--correct", "assign", list[0], "--patient", "PAT-SECOND")
	b := c.assign(list[0], "--patient", "PAT-SECOND", "--correct")
	c.until("corrected", held(3, 1))
	if out := c.must("find", "--id", a.Exam); !strings.Contains(out, "ehr: replaced") || !strings.Contains(out, "emr: delivered") {
		t.Errorf("find:\n%s", out)
	}

	c.configured(fmt.Sprintf(assignConfig, "1h", "", "deliver"))
	c.reloaded("ehr")
	c.until("held no more", held(4, 0))
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 5 && sink(s, "archive").Delivered == 5 })
	c.stop()

	if got := c.patients("ehr"); !slices.Equal(got, []string{"P00007", "PAT-FIRST", "PAT-SECOND", "nobody"}) {
		t.Errorf("ehr has %q", got)
	}
	got := c.patients("archive")
	if slices.Sort(got); !slices.Equal(got, []string{"P00007", "PAT-FIRST", "PAT-SECOND", "nobody", "nobody"}) {
		t.Errorf("archive has %q", got)
	}
	db := c.database()
	for query, want := range map[string]int{
		"SELECT count(*) FROM exam": 3,
		"SELECT count(*) FROM exam WHERE unassigned = 1 AND patient_id = ''":                                                   1,
		"SELECT count(*) FROM exam WHERE record_id = ? AND patient_id = 'PAT-SECOND' AND patient_name = '' AND unassigned = 0": 1,
		"SELECT count(*) FROM record WHERE record_id = ? AND unassigned = 1":                                                   1,
		"SELECT count(*) FROM record WHERE amends = ? AND unassigned = 0":                                                      2,
		"SELECT count(*) FROM observation WHERE record_id = ? AND code = 'sphere'":                                             1,
	} {
		args := []any{}
		if strings.Contains(query, "?") {
			args = append(args, a.Exam)
		}
		if n := one(t, db, query, args...); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	if n := one(t, db, "SELECT count(*) FROM exam WHERE amended_by = ?", b.Record); n != 1 || a.Record == b.Record {
		t.Errorf("%d exams amended by %s", n, b.Record)
	}
	audit := c.read("data/audit.ndjson")
	if strings.Count(audit, `"what":"assign"`) != 2 || !strings.Contains(audit, b.Record) {
		t.Errorf("audit:\n%s", audit)
	}
	for _, text := range []string{audit, c.log(), c.out.String()} {
		if strings.Contains(text, "PAT-") || strings.Contains(text, "Muster") {
			t.Errorf("it names the patient:\n%s", text)
		}
	}
}

// TestAssigningLongAfterwards: an exam that has left the log is found where it is held, and else in the database. With a sink that is
// forgotten goes what was held back from it.
func TestAssigningLongAfterwards(t *testing.T) {
	if testing.Short() {
		t.Skip("short: thousands of records must push an exam out of the log")
	}
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(assignConfig, "0s", "", "hold"))
	c.start()
	c.nobody("in", "-2.00")
	c.nobody("old", "-3.00")
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 2 && sink(s, "ehr").Held == 1 })
	list := c.unassigned()
	if len(list) != 2 {
		t.Fatalf("unassigned: %q", list)
	}
	c.configured(fmt.Sprintf(assignConfig, "0s", "  - {name: gen, plugin: generator, settings: {count: 4000}}\n", "hold"))
	c.reloaded("gen")
	c.until("the log has gone on", func(s status) bool { return device(s, "gen").Records == 4000 && sink(s, "archive").Backlog == 0 })
	for _, name := range list {
		device, id, _ := strings.Cut(name, "/")
		if out := c.must("find", "--id", id); strings.Contains(out, id) {
			t.Errorf("the exam of %s is still in the log:\n%s", device, out)
		}
	}
	if now := c.unassigned(); !slices.Equal(now, list) {
		t.Errorf("unassigned: %q, before %q", now, list)
	}
	for i, name := range list {
		c.assign(name, "--patient", fmt.Sprint("PAT-", i))
	}
	c.until("assigned", func(s status) bool {
		return sink(s, "emr").Delivered == 4 && sink(s, "ehr").Held == 0 && sink(s, "ehr").Delivered == 1
	})
	if left := c.unassigned(); len(left) > 0 {
		t.Errorf("still unassigned: %q", left)
	}
	c.nobody("in", "-4.00")
	c.until("held", func(s status) bool { return sink(s, "ehr").Held == 1 })
	c.configured(strings.NewReplacer("  - {name: ehr, plugin: file, unassigned: hold, settings: {dir: ehr}}\n", "", ", ehr]", "]").Replace(fmt.Sprintf(assignConfig, "0s", "", "hold")))
	c.reloaded("ehr")
	c.until("parked", func(s status) bool {
		return sink(s, "ehr").Held == 1 && slices.ContainsFunc(s.Alarms, func(a alarm) bool { return a.Code == "sink_parked" && strings.Contains(a.Text, "1 records") })
	})
	c.must("spool", "forget", "ehr")
	if out := c.must("dead", "list", "--held"); strings.Contains(out, "ehr") {
		t.Errorf("held for nobody:\n%s", out)
	}
	c.stop()
	if n := one(t, c.database(), "SELECT count(*) FROM exam e JOIN observation o USING (source, record_id) WHERE e.patient_id LIKE 'PAT-%' AND o.code = 'sphere' AND o.value_num IN (-2, -3)"); n != 2 {
		t.Errorf("%d exams are assigned, want 2", n)
	}
}
