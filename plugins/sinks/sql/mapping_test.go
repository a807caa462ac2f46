package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// person is an exam of an invented patient with the observations.
func person(t testing.TB, id, patient string, observations ...exam.Observation) sdk.Record {
	t.Helper()
	e := &exam.Exam{Patient: exam.Patient{ID: patient}, Observations: observations, TakenAt: "2025-03-24T10:31:40"}
	if e.Observations == nil {
		e.Observations = []exam.Observation{}
	}
	if patient != "" {
		e.Patient = exam.Patient{ID: patient, Name: "Muster " + patient, Birth: "1970-03-15", Sex: "M"}
	}
	return recordOf(t, id, e)
}

func found(code, eye, method string, seq int, value any) exam.Observation {
	o := exam.Observation{Code: code, Eye: eye, Method: method, Seq: seq}
	o.Unit, _ = exam.UnitOf(code)
	switch v := value.(type) {
	case string:
		o.Value = exam.Text(v)
	case float64:
		o.Value = exam.Number(v)
	}
	return o
}

func TestRows(t *testing.T) {
	file := sdk.Attachment{Name: "od.jpg", ContentType: "image/jpeg", Size: 5, Hash: strings.Repeat("a", 64)}
	late := file
	late.Name = "os\xff.jpg"
	both := person(t, "r1", "P1",
		found("sphere", "R", "final", 0, -1.0), found("sphere", "L", "final", 0, -2.0), found("sphere", "L", "unaided", 0, 0.5),
		found("iop", "R", "tono", 0, 15.0), found("iop", "R", "tono", 1, 14.0), found("pd", "B", "", 0, 63.0))
	both.Attachments = []sdk.Attachment{{Name: "raw", Role: "raw", Size: 1}, file, late}
	pressure := person(t, "r2", "P2", found("iop", "L", "tono", 1, 16.0))
	document := sdk.Record{ID: "d1", Source: "oct", Kind: "document", ContentType: "application/pdf", Data: []byte("%PDF"), Seq: 9, Received: epoch, Labels: map[string]string{"room": "2"}, Attachments: []sdk.Attachment{file}}
	reading := person(t, "r3", "P3")
	for _, c := range []struct {
		name, rows, where, columns string
		want                       []string // of id and v
	}{
		{"records", "record", "", "record.kind", []string{"d1|document", "r1|exam", "r2|exam", "r3|exam"}},
		{"records of a kind", "record", "{kind: [doc*]}", "record.content_type", []string{"d1|application/pdf"}},
		{"records of a device", "record", "{source: [o*t, other]}", "record.labels.room", []string{"d1|2"}},
		{"records without the field", "record", "{source: [o*t]}", "patient.id", []string{"d1|NULL"}},
		{"attachments", "attachment", "", "attachment.name", []string{"d1|od.jpg", "r1|od.jpg", "r1|os\ufffd.jpg"}},
		{"attachments of an exam", "attachment", "{kind: [exam]}", "[attachment.idx]", []string{"r1|1", "r1|2"}},
		{"attachments with their patient", "attachment", "", "patient.id", []string{"d1|NULL", "r1|P1", "r1|P1"}},
		{"exams", "exam", "", "patient.id", []string{"r1|P1", "r2|P2", "r3|P3"}},
		{"exams of a method", "exam", "{method: [fin*]}", "patient.id", []string{"r1|P1"}},
		{"exams with a shot", "exam", "{seq: shots}", "patient.id", []string{"r1|P1", "r2|P2"}},
		{"exams with a value of the shots", "exam", "{seq: shots}", "obs(iop R)", []string{"r1|14"}},
		{"exams with a value of the summary", "exam", "{seq: summary}", "[obs(iop L), obs(iop R)]", []string{"r1|15"}},
		{"exams with a value", "exam", "", "obs(sphere R)", []string{"r1|-1"}},
		{"exams with one of two values", "exam", "", "[obs(sphere R), obs(iop L)]", []string{"r1|-1", "r2|16"}},
		{"exams with a code, with or without a value", "exam", "{code: [iop]}", "obs(sphere R)", []string{"r1|-1", "r2|NULL"}},
		{"exams from elsewhere", "exam", "{source: [ark-2]}", "patient.id", nil},
		{"eyes", "eye", "", "eye", []string{"r1|L", "r1|R", "r2|L"}},
		{"eyes with a value", "eye", "", "obs(sphere)", []string{"r1|-2", "r1|-1"}},
		{"eyes with another method", "eye", "{method: [unaided]}", "obs(sphere)", []string{"r1|0.5"}},
		{"eyes with a method of the column's own", "eye", "{method: [unaided]}", "obs(sphere final)", []string{"r1|-2"}},
		{"one eye", "eye", "{eye: [R]}", "obs(iop)", []string{"r1|15"}},
		{"eyes with what both have", "eye", "{code: [iop]}", "obs(pd B)", []string{"r1|63", "r2|NULL"}},
		{"eyes with what both have, with any value", "eye", "", "obs(pd B)", []string{"r1|63", "r1|63", "r2|NULL"}},
		{"observations", "observation", "", "observation.code", []string{"r1|iop", "r1|iop", "r1|pd", "r1|sphere", "r1|sphere", "r1|sphere", "r2|iop"}},
		{"observations of codes", "observation", `{code: ["io*", pd]}`, "{from: observation.value, as: number}", []string{"r1|14", "r1|15", "r1|63", "r2|16"}},
		{"observations of an eye", "observation", "{eye: [B]}", "observation.code", []string{"r1|pd"}},
		{"summaries", "observation", "{seq: summary, code: [iop]}", "observation.seq", []string{"r1|0"}},
		{"shots", "observation", "{seq: shots}", "observation.seq", []string{"r1|1", "r2|1"}},
		{"observations with others of the exam", "observation", "{code: [pd]}", "obs(iop R)", []string{"r1|15"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newClinic(t, "CREATE TABLE T (ID, V)")
			if c.where == "" {
				c.where = "{}"
			}
			s := r.open(fmt.Sprintf("  - {name: T, rows: %s, where: %s, columns: {ID: record.id, V: %s}}", c.rows, c.where, c.columns))
			r.write(s, both, document, pressure, reading)
			r.want("SELECT ID, V FROM T ORDER BY ID, V", c.want...)
			r.want("SELECT count(*) FROM receipt", "4") // also of a record without rows
			if r.writes != 1 {
				t.Errorf("%d writes for one batch", r.writes)
			}
		})
	}
}

func TestSources(t *testing.T) {
	e := &exam.Exam{
		Patient: exam.Patient{ID: "P1\xffx", Name: "김 시험", Birth: "1970-03-15", Sex: "F"},
		Device:  exam.Device{Make: "SYNTH", Model: "AR-9", Serial: "0042"}, TakenAt: "2025-03-24T10:31:40.317+02:00",
		Observations: []exam.Observation{
			{Code: "sphere", Eye: "R", Method: "autoref", Seq: 3, Value: exam.Number(-1.5), Text: "- 1.50", Unit: "D", Flags: []string{"H", "C"}},
			{Code: "79892-6", Eye: "R", Value: exam.Text("a\x00b"), Unit: "x"},
			{Code: "exam_no", Eye: "B", Value: exam.Text("0058")},
			{Code: "va", Eye: "L", Value: exam.Number(1.2)},
		},
		Warnings: []string{"duplicate", "checksum_missing"},
	}
	e.Patient.ID = "P1"
	r := amend(recordOf(t, "r2", e), "r1")
	r.Labels = map[string]string{"message": "ORU^R01"}
	r.Attachments = []sdk.Attachment{{Name: "od.jpg", ContentType: "image/jpeg", Size: 5, Hash: "abc"}}
	r.Received = epoch.Add(-100 * time.Millisecond)
	for _, c := range []struct{ rows, column, want string }{
		{"record", "record.id", "r2"},
		{"record", "record.original", "r1"},
		{"record", "record.source", "ark-1"},
		{"record", "record.kind", "exam"},
		{"record", "record.amends", "r1"},
		{"record", "record.content_type", "application/json"},
		{"record", "record.hash", r.ContentHashHex()},
		{"record", "record.seq", "7"},
		{"record", "record.time", "2026-03-01T17:15:00.120"},
		{"record", "record.received", "2026-03-01T17:15:00.020"},
		{"record", "{from: record.received, as: utc}", "2026-03-01T08:15:00.020000000Z"},
		{"record", "{from: record.received, as: date}", "2026-03-01"},
		{"record", "{from: record.received, as: text}", "2026-03-01T08:15:00.02Z"},
		{"record", "record.labels.message", "ORU^R01"},
		{"record", "record.labels.none", "NULL"},
		{"record", "record.raw", fmt.Sprint([]byte("raw of r2"))},
		{"record", "record.data", fmt.Sprint(r.Data)},
		{"exam", "exam.taken_at", "2025-03-24T17:31:40.317"},
		{"exam", "{from: exam.taken_at, as: utc}", "2025-03-24T08:31:40.317000000Z"},
		{"exam", "{from: exam.taken_at, as: text}", "2025-03-24T10:31:40.317+02:00"},
		{"exam", "exam.warnings", "duplicate, checksum_missing"},
		{"exam", "patient.id", "P1"},
		{"exam", "patient.name", "김 시험"},
		{"exam", "patient.birth", "1970-03-15"},
		{"exam", "patient.sex", "F"},
		{"exam", "device.make", "SYNTH"},
		{"exam", "device.model", "AR-9"},
		{"exam", "device.serial", "0042"},
		{"exam", "{from: device.serial, as: integer}", "42"},
		{"exam", "obs(sphere R)", "-1.5"},
		{"exam", "obs(sphere, R, autoref, 3)", "-1.5"},
		{"exam", "obs( sphere 3 R )", "-1.5"},
		{"exam", "obs (sphere R auto*)", "-1.5"},
		{"exam", "obs(sphere R 1)", ""},
		{"exam", "obs(sphere R final)", ""},
		{"exam", "obs(sphere R).text", "- 1.50"},
		{"exam", "obs(sphere R).unit", "D"},
		{"exam", "obs(sphere R).method", "autoref"},
		{"exam", "obs(sphere R).seq", "3"},
		{"exam", "obs(sphere R).flags", "H, C"},
		{"exam", `{from: 'obs("79892-6" R)', as: text}`, "a\ufffdb"},
		{"exam", `obs('79892-6' R).text`, "a\ufffdb"},
		{"exam", "obs(exam_no B)", "0058"},
		{"exam", "{from: obs(va L), as: number}", "1.2"},
		{"exam", "{from: obs(va L), as: text}", "1.2"},
		{"exam", "{value: 7}", "7"},
		{"exam", "{value: 0.5}", "0.5"},
		{"exam", "{value: x}", "x"},
		{"exam", "[record.labels.none, device.model, device.make]", "AR-9"},
		{"exam", "{from: patient.sex, map: {F: W, M: M}}", "W"},
		{"exam", "{from: patient.sex, map: {F: 2, M: 1}}", "2"},
		{"exam", "{from: patient.sex, map: {F: 2.5, M: 1}}", "2.5"},
		{"exam", "{from: record.seq, map: {\"7\": seven}}", "seven"},
		{"exam", "{from: record.labels.none, default: none}", "none"},
		{"exam", "{from: record.labels.none, as: number, default: 3}", "3"},
		{"exam", "{from: record.labels.none, map: {a: b}, default: c}", "c"},
		{"exam", "{from: record.labels.none, as: date, default: \"1900-01-01\"}", "1900-01-01"},
		{"exam", "{from: device.model, as: number, unfit: missing}", "NULL"},
		{"exam", "{from: device.model, as: number, unfit: missing, default: -1}", "-1"},
		{"exam", "{from: device.model, map: {x: y}, unfit: missing, default: z}", "z"},
		{"eye", "{from: eye, map: {R: OD, L: OS}}", "OD|OS"},
		{"observation", "observation.eye", "R|R|B|L"},
		{"observation", "observation.text", "- 1.50|a\ufffdb|0058|1.2"},
		{"observation", "{from: observation.value, as: text}", "-1.5|a\ufffdb|0058|1.2"},
		{"observation", "observation.unit", "D|x|NULL|NULL"},
		{"observation", "observation.method", "autoref|NULL|NULL|NULL"},
		{"observation", "observation.flags", "H, C|NULL|NULL|NULL"},
		{"observation", "observation.idx", "0|1|2|3"},
		{"attachment", "attachment.content_type", "image/jpeg"},
		{"attachment", "attachment.size", "5"},
		{"attachment", "attachment.hash", "abc"},
	} {
		t.Run(c.column, func(t *testing.T) {
			store := newClinic(t, "CREATE TABLE T (N, V)")
			store.write(store.open(fmt.Sprintf("  - name: T\n    rows: %s\n    columns:\n      V: %s\n      N: record.id", c.rows, c.column)), r)
			var want []string
			if c.want != "" {
				want = strings.Split(c.want, "|")
			}
			store.want("SELECT V FROM T ORDER BY rowid", want...)
		})
	}
}

func TestMappedRecordsAreStoredOnce(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (ID, V)")
	s := c.open("  - {name: T, rows: exam, columns: {ID: record.id, V: obs(sphere R)}}")
	a, b := person(t, "r1", "P1", found("sphere", "R", "", 0, 1.0)), person(t, "r2", "P2", found("sphere", "R", "", 0, 2.0))
	c.write(s, a, b)
	c.write(s, b, a)
	c.write(s, a)
	other := person(t, "r1", "P1", found("sphere", "R", "", 0, 3.0))
	other.Raw = []byte("other content")
	refused := c.dead(s, a, other, person(t, "r3", "P3", found("sphere", "R", "", 0, 3.0)))
	if !slices.Equal(refused.Indexes(), []int{1}) || !errors.Is(refused[1], errConflict) {
		t.Errorf("refused: %v, want record 1 for its conflict", refused)
	}
	c.want("SELECT ID, V FROM T ORDER BY ID", "r1|1", "r2|2", "r3|3")
	if c.upserts["T"] != 3 {
		t.Errorf("%d rows were written, want 3", c.upserts["T"])
	}
}

func TestMappedAmendment(t *testing.T) {
	const tables = `
  - name: VISIT
    rows: eye
    key: [ID, EYE]
    columns:
      ID: record.original
      EYE: eye
      PATIENT: patient.id
      CHART: {lookup: "SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?", with: patient.id%s}
      LAST: record.id
      V: obs(sphere)`
	c := newClinic(t, "CREATE TABLE VISIT (ID, EYE, PATIENT, CHART, LAST, V, PRIMARY KEY (ID, EYE))", "INSERT INTO PATIENT VALUES (1, 'P1', ''), (2, 'P2', '')")
	s := c.open(fmt.Sprintf(tables, ""))
	right, left := found("sphere", "R", "", 0, 1.0), found("sphere", "L", "", 0, 2.0)
	other := right
	other.Value = exam.Number(5)
	c.write(s, person(t, "r1", "P1", right, left), amend(person(t, "r2", "", other), "r1"))
	c.want("SELECT * FROM VISIT ORDER BY EYE", "r1|L|P1|1|r1|2", "r1|R|P1|1|r2|5")
	c.write(s, amend(person(t, "r3", "P2", other), "r1"))
	c.want("SELECT * FROM VISIT ORDER BY EYE", "r1|L|P1|1|r1|2", "r1|R|P2|2|r3|5")
	c.write(s, amend(sdk.Record{ID: "r4", Source: "ark-1", Kind: "document", Received: epoch}, "r1"))
	c.want("SELECT count(*) FROM VISIT", "2")
	// A column that must have a value has it in a correction, too.
	s = c.open(fmt.Sprintf(tables, ", required: true"))
	if refused := c.dead(s, amend(person(t, "r5", "", other), "r1")); !errors.Is(refused[0], errRequired) || !strings.Contains(refused[0].Error(), "VISIT.CHART: a lookup without patient.id") {
		t.Errorf("refused: %v", refused)
	}
	// A patient in the key is never left out, and without a key there is nothing to leave alone.
	c = newClinic(t, "CREATE TABLE T (P PRIMARY KEY, V); CREATE TABLE L (P, V)")
	s = c.open("  - {name: T, rows: exam, key: [P], columns: {P: patient.id, V: obs(sphere R)}}")
	if refused := c.dead(s, amend(person(t, "r7", "", other), "r0")); !errors.Is(refused[0], errRequired) {
		t.Errorf("refused: %v", refused)
	}
	s = c.open("  - {name: L, rows: exam, columns: {P: patient.id, V: obs(sphere R)}}")
	c.write(s, amend(person(t, "r8", "", other), "r0"))
	c.want("SELECT * FROM L", "NULL|5")
}

func TestTwoRowsWithOneKey(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (ID, EYE, V, PRIMARY KEY (ID, EYE))")
	s := c.open("  - {name: T, rows: observation, key: [ID, EYE], columns: {ID: record.id, EYE: observation.eye, V: {from: observation.value, as: number}}}")
	refused := c.dead(s, person(t, "r1", "P1", found("iop", "R", "", 0, 1.0), found("iop", "R", "", 1, 2.0)), person(t, "r2", "P1", found("iop", "R", "", 0, 1.0), found("iop", "L", "", 0, 2.0)))
	if !slices.Equal(refused.Indexes(), []int{0}) || !errors.Is(refused[0], errSameKey) || !strings.Contains(refused[0].Error(), "map T: ") {
		t.Errorf("refused: %v", refused)
	}
	c.want("SELECT ID, EYE, V FROM T ORDER BY EYE", "r2|L|2", "r2|R|1")
}

func TestTwoEntriesForOneTable(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (ID PRIMARY KEY, A, B)")
	s := c.open(`
  - {name: T, rows: exam, key: [ID], columns: {ID: record.id, A: obs(sphere R)}}
  - {name: t, rows: exam, key: [ID], columns: {ID: record.id, B: obs(iop R)}}`)
	c.write(s, person(t, "r1", "P1", found("sphere", "R", "", 0, 1.0), found("iop", "R", "", 0, 15.0)), person(t, "r2", "P1", found("iop", "R", "", 0, 16.0)))
	c.want("SELECT * FROM T ORDER BY ID", "r1|1|15", "r2|NULL|16")
}

// TestReasonsHaveNoValues lets every conversion fail on values that are marked.
func TestReasonsHaveNoValues(t *testing.T) {
	const mark = "4711"
	e := &exam.Exam{
		Patient: exam.Patient{ID: mark, Name: mark + " x", Birth: "4711-12", Sex: "F"}, TakenAt: "4711-12",
		Observations: []exam.Observation{{Code: "sphere", Eye: "R", Value: exam.Text(">" + mark), Text: mark}, {Code: "va", Eye: "R", Value: exam.Number(4711.5)}},
	}
	r := recordOf(t, "r1", e)
	r.Raw = []byte(mark + "\xff")
	for _, c := range []struct {
		column string
		want   error
		says   string
	}{
		{"obs(sphere R)", errNoNumber, "map T.V: obs(sphere R) is not a number"},
		{"{from: obs(sphere R), as: decimal(2)}", errNoNumber, "map T.V: obs(sphere R) is not a number"},
		{"{from: obs(va R), as: integer}", errNoInteger, "map T.V: obs(va R) is not a whole number"},
		{"{from: patient.name, as: integer}", errNoInteger, "map T.V: patient.name is not a whole number"},
		{"patient.birth", errNoDate, "map T.V: patient.birth is not a whole date"},
		{"exam.taken_at", errNoTime, "map T.V: exam.taken_at is not a date with a time"},
		{"{from: exam.taken_at, as: utc}", errNoTime, ""},
		{"{from: exam.taken_at, as: date}", errNoDate, ""},
		{"{from: patient.id, map: {\"1\": x}}", errNoWord, "map T.V: patient.id is not a word of map"},
		{"[record.labels.none, patient.birth]", nil, ""},
		{"{from: [record.labels.none, patient.id], as: date}", errNoDate, "map T.V: patient.id is not a whole date"},
		{"{from: record.labels.none, required: true}", errRequired, "map T.V: record.labels.none: there is no value, and the column must have one"},
		{"{lookup: SELECT '4711x', as: number}", errNoNumber, "map T.V: the lookup's answer is not a number"},
	} {
		store := newClinic(t, "CREATE TABLE T (V)")
		s, err := store.tryOpen(fmt.Sprintf("schema: mapped\ntables:\n  - {name: T, rows: exam, columns: {V: %s}}", c.column))
		if c.want == nil {
			if !errors.Is(err, sdk.ErrSettings) {
				t.Errorf("%s: %v", c.column, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.column, err)
			continue
		}
		refused := store.dead(s, r)
		if !errors.Is(refused[0], c.want) || c.says != "" && refused[0].Error() != c.says || strings.Contains(refused[0].Error(), mark) {
			t.Errorf("%s: refused with %v, want %q", c.column, refused[0], c.says)
		}
		store.want("SELECT * FROM T")
	}
}

// A record that the database refuses for good is tried alone, and not a second time: it would be written the same way.
func TestMappedRecordRefusedByTheDatabase(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (ID)")
	s := c.open("  - {name: T, rows: record, columns: {ID: record.id}}")
	errBad := errors.New("a check of the table failed")
	c.refuse = func(_ string, row sdk.Row) error {
		if row["ID"] == "r2" {
			return errBad
		}
		return nil
	}
	refused := c.dead(s, person(t, "r1", ""), person(t, "r2", ""), person(t, "r3", ""))
	if !slices.Equal(refused.Indexes(), []int{1}) || !errors.Is(refused[1], errBad) || c.writes != 2 {
		t.Errorf("refused: %v after %d writes", refused, c.writes)
	}
	c.want("SELECT ID FROM T ORDER BY ID", "r1", "r3")
}

func TestMappedExamThatIsNone(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (ID)")
	s := c.open("  - {name: T, rows: record, columns: {ID: record.id}}")
	bad := person(t, "r1", "P1")
	bad.Data = []byte(`{"patient":{"id":"P1"}}`)
	if refused := c.dead(s, bad, person(t, "r2", "P2")); !slices.Equal(refused.Indexes(), []int{0}) {
		t.Errorf("refused: %v", refused)
	}
	c.want("SELECT ID FROM T", "r2")
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "abc", true},
		{"a*", "abc", true},
		{"a*", "ba", false},
		{"*c", "abc", true},
		{"*c", "abcd", false},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*a", "a", false},
		{"a*b*c", "a-b-c", true},
		{"a*b*c", "acb", false},
		{"**", "x", true},
		{"a**b", "ab", true},
		{"*b*", "abc", true},
		{"*d*", "abc", false},
	} {
		if got := like(c.pattern, c.s); got != c.want {
			t.Errorf("like(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestKeysOfRowsDiffer(t *testing.T) {
	rows := [][]any{
		{"a", "bc"},
		{"ab", "c"},
		{"1", "2"},
		{"12", ""},
		{int64(1), int64(2)},
		{int64(12)},
		{float64(1)},
		{int64(1)},
		{"1"},
		{nil},
		{true},
		{[]byte("1")},
		{"s1:a"},
		{"a", nil},
		{epoch},
		{epoch.Add(1)},
	}
	seen := map[string]int{}
	for i, row := range rows {
		var key []byte
		for _, v := range row {
			key = appendKey(key, v)
		}
		if before, ok := seen[string(key)]; ok {
			t.Errorf("%v and %v have the key %q", rows[before], row, key)
		}
		seen[string(key)] = i
	}
}
