package main_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const mappedConfig = `
devices:
  - {name: gen, plugin: generator, settings: {count: 50}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
  - name: emr
    plugin: sql
    settings:
      schema: mapped
      zone: "+09:00"
      tables:
        - name: VISIT
          rows: exam
          key: [SOURCE, ID]
          columns:
            SOURCE: record.source
            ID: record.id
            CHART: {lookup: "SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?", with: [patient.id]}
            AT: exam.taken_at
`

// lines are those of a text that begin with one of the words.
func lines(text string, words ...string) (out []string) {
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) }) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// TestCheckAsksTheSinks: what the clinic's database lacks for a mapping is said with file and line, exit code 2, and what
// would make it is printed so that it can be run as it is. Nothing is made by the check.
func TestCheckAsksTheSinks(t *testing.T) {
	t.Parallel()
	c := newClinic(t, mappedConfig)
	said := func(want string, faults ...string) (out string) {
		t.Helper()
		before := c.below(".", "*", "*/*")
		out, errs, code := c.hostd("check")
		if got := lines(errs, "hostd.yaml:"); code != 2 || !slices.Equal(got, faults) {
			t.Errorf("%s: exit %d\n%s%s", want, code, out, errs)
		}
		if after := c.below(".", "*", "*/*"); !slices.Equal(before, after) {
			t.Errorf("%s: check made files: before %q, after %q", want, before, after)
		}
		return out
	}
	const visit = "hostd.yaml:17: sinks[1].settings.tables[0].name: there is no table VISIT in the database"
	said("before the first start", visit,
		"hostd.yaml:23: sinks[1].settings.tables[0].columns.CHART.lookup: there is no database yet: hostd makes it at its first start")

	c.start()
	c.stop()
	script := said("without tables", visit,
		"hostd.yaml:23: sinks[1].settings.tables[0].columns.CHART.lookup: SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?: there is no table PATIENT")
	if !strings.HasPrefix(script, "-- What sink emr lacks in the database.") || !strings.Contains(script, "PRIMARY KEY (\"SOURCE\", \"ID\")") {
		t.Fatalf("the script is\n%s", script)
	}
	var answer struct {
		OK        bool
		Proposals []struct{ Sink, Text string }
	}
	out, _, code := c.hostd("check", "--json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 2 || answer.OK || len(answer.Proposals) != 1 || answer.Proposals[0].Sink != "emr" {
		t.Errorf("check --json: exit %d, %v\n%s", code, err, out)
	}
	db := c.database()
	run := func(text string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	run(script)
	run("CREATE TABLE PATIENT (CHART_NO INTEGER PRIMARY KEY, DEVICE_ID TEXT)")
	if out, errs, code := c.hostd("check"); code != 0 || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("with the tables: exit %d\n%s%s", code, out, errs)
	}
	c.start()
	if out, errs, code := c.hostd("check"); code != 0 || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("beside a host: exit %d\n%s%s", code, out, errs)
	}
	c.stop()

	run("DROP TABLE VISIT; CREATE TABLE VISITS (X); CREATE TABLE VISIT (SOURCE TEXT, ID TEXT, CHART TEXT, ROOM TEXT NOT NULL)")
	script = said("another table",
		"hostd.yaml:19: sinks[1].settings.tables[0].key: no row of VISIT can be found again by it: these columns are not its primary key, nor just those of a unique index",
		"hostd.yaml:20: sinks[1].settings.tables[0].columns: lacks ROOM, which must have a value in each row of VISIT",
		`hostd.yaml:24: sinks[1].settings.tables[0].columns.AT: the table VISIT has no column AT; known: SOURCE, ID, CHART, ROOM`)
	run(script)
	said("with what was proposed", "hostd.yaml:20: sinks[1].settings.tables[0].columns: lacks ROOM, which must have a value in each row of VISIT")

	c.write("hostd.yaml", strings.Replace(c.read("hostd.yaml"), "exam.taken_at", "exam.time", 1))
	said("a bad source", `hostd.yaml:24: sinks[1].settings.tables[0].columns.AT: unknown field "exam.time"; did you mean "record.time"?`)
	if n := one(t, db, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'VISIT%'"); n < 2 {
		t.Errorf("%d tables: the test's own are gone", n)
	}
}
