package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

const patientNumber = `
  - name: VISIT
    rows: exam
    key: [ID]
    columns:
      ID: record.id
      CHART:
        lookup: SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?
        with: [patient.id]
        cache: 30m
        tables: [PATIENT]
        %s
      V: obs(sphere R)
  - name: PRESSURE
    rows: observation
    key: [ID, SEQ]
    where: {code: [iop]}
    columns:
      ID: record.id
      SEQ: observation.seq
      CHART: {lookup: "SELECT CHART_NO FROM PATIENT WHERE DEVICE_ID = ?", with: patient.id, cache: 30m, tables: [PATIENT]}`

const visitTables = "CREATE TABLE VISIT (ID PRIMARY KEY, CHART INTEGER, V); CREATE TABLE PRESSURE (ID, SEQ, CHART, PRIMARY KEY (ID, SEQ))"

func withPressure(t testing.TB, n int, patient string) sdk.Record {
	return person(t, fmt.Sprint("r", n), patient, found("sphere", "R", "", 0, -1.0), found("iop", "R", "", 0, 15.0), found("iop", "R", "", 1, 14.0))
}

func TestLookups(t *testing.T) {
	c := newClinic(t, visitTables, "INSERT INTO PATIENT VALUES (1001, 'P1', ''), (1002, 'P2', '')")
	s := c.open(fmt.Sprintf(patientNumber, "required: true"))
	c.write(s, withPressure(t, 1, "P1"), withPressure(t, 2, "P2"), withPressure(t, 3, "P1"))
	if c.queries != 2 || c.hits != 1 {
		t.Errorf("%d queries and %d hits for 3 exams of 2 patients in 2 tables with 3 rows each, want 2 and 1", c.queries, c.hits)
	}
	c.want("SELECT ID, CHART FROM VISIT ORDER BY ID", "r1|1001", "r2|1002", "r3|1001")
	c.want("SELECT ID, SEQ, CHART FROM PRESSURE ORDER BY ID, SEQ", "r1|0|1001", "r1|1|1001", "r2|0|1002", "r2|1|1002", "r3|0|1001", "r3|1|1001")

	// Nobody has the id; then somebody has, and is found at once.
	stranger := withPressure(t, 4, "P9")
	for range 2 {
		refused := c.dead(s, stranger, withPressure(t, 5, ""))
		if !slices.Equal(refused.Indexes(), []int{0, 1}) || !errors.Is(refused[0], errRequired) ||
			!strings.Contains(refused[0].Error(), "VISIT.CHART: the lookup found nothing") || !strings.Contains(refused[1].Error(), "VISIT.CHART: a lookup without patient.id") {
			t.Errorf("refused: %v, %v", refused[0], refused[1])
		}
		if strings.Contains(refused[0].Error(), "P9") {
			t.Errorf("the reason has the patient: %v", refused[0])
		}
	}
	c.exec("INSERT INTO PATIENT VALUES (1009, 'P9', '')")
	c.write(s, stranger)
	c.want("SELECT CHART FROM VISIT WHERE ID = 'r4'", "1009")

	// Two patients with the same id: nobody can say who is meant.
	c.exec("INSERT INTO PATIENT VALUES (1008, 'P8', ''), (1018, 'P8', '')")
	if refused := c.dead(s, withPressure(t, 6, "P8"), withPressure(t, 7, "P1")); !slices.Equal(refused.Indexes(), []int{0}) || !errors.Is(refused[0], errAmbiguous) {
		t.Errorf("refused: %v", refused)
	}
	c.exec("INSERT INTO PATIENT VALUES (1028, 'P8', '')")
	if refused := c.dead(s, withPressure(t, 8, "P8")); len(refused) != 1 {
		t.Errorf("refused: %v", refused)
	}
	c.want("SELECT ID FROM VISIT WHERE ID > 'r5'", "r7")
}

func TestLookupThatFindsNothing(t *testing.T) {
	for _, tt := range []struct{ missing, want string }{
		{"", "NULL"},
		{"default: 0", "0"},
		{"default: unknown", "unknown"},
		{"map:\n          \"1001\": one", "NULL"},
		{"as: integer\n        default: -1", "-1"},
	} {
		c := newClinic(t, visitTables)
		s := c.open(fmt.Sprintf(patientNumber, tt.missing))
		if strings.HasPrefix(tt.missing, "map") {
			c.exec("INSERT INTO PATIENT VALUES (1001, 'P1', '')")
			c.write(s, withPressure(t, 2, "P1"))
			c.want("SELECT CHART FROM VISIT", "one")
			c.exec("DELETE FROM VISIT")
			c.exec("DELETE FROM PATIENT")
		}
		c.write(s, withPressure(t, 1, "P7"))
		c.want("SELECT CHART FROM VISIT", tt.want)
	}
}

// A committed write of hostd to a table of the lookup is seen at once.
func TestLookupSeesOwnWrites(t *testing.T) {
	c := newClinic(t, visitTables, "CREATE UNIQUE INDEX one ON PATIENT (DEVICE_ID)", "INSERT INTO PATIENT VALUES (1, 'P1', 'before')")
	s := c.open(`
  - name: PATIENT
    rows: exam
    where: {source: [desk]}
    key: [DEVICE_ID]
    columns: {DEVICE_ID: patient.id, NAME: patient.name}
  - name: VISIT
    rows: exam
    key: [ID]
    columns:
      ID: record.id
      V: {lookup: "SELECT NAME FROM PATIENT WHERE DEVICE_ID = ?", with: patient.id, cache: 30m, tables: [PATIENT]}`)
	c.write(s, person(t, "r1", "P1"))
	desk := person(t, "r2", "P1")
	desk.Source = "desk"
	c.write(s, desk)
	c.write(s, person(t, "r3", "P1"))
	c.want("SELECT ID, V FROM VISIT ORDER BY ID", "r1|before", "r2|before", "r3|Muster P1")
}

// That nothing was found is asked for once, where the mapping says that it may be cached; what hostd writes to the table
// is seen at once all the same.
func TestLookupThatRemembersNothing(t *testing.T) {
	c := newClinic(t, visitTables, "CREATE UNIQUE INDEX one ON PATIENT (DEVICE_ID)")
	s := c.open(`
  - name: PATIENT
    rows: exam
    where: {source: [desk]}
    key: [DEVICE_ID]
    columns: {DEVICE_ID: patient.id, NAME: patient.name}
  - name: VISIT
    rows: exam
    key: [ID]
    where: {source: [ark-1]}
    columns:
      ID: record.id
      V: {lookup: "SELECT NAME FROM PATIENT WHERE DEVICE_ID = ?", with: patient.id, cache: 30m, cache_missing: 5s, tables: [PATIENT]}`)
	c.write(s, person(t, "r1", "P1"), person(t, "r2", "P1"), person(t, "r3", "P2"))
	if c.queries != 2 || c.hits != 1 {
		t.Errorf("%d queries and %d hits for 3 exams of 2 people whom nobody knows, want 2 and 1", c.queries, c.hits)
	}
	desk := person(t, "r4", "P1")
	desk.Source = "desk"
	c.write(s, desk)
	c.write(s, person(t, "r5", "P1"))
	c.want("SELECT ID, V FROM VISIT ORDER BY ID", "r1|NULL", "r2|NULL", "r3|NULL", "r5|Muster P1")
}

func TestLookupThatDiffersByRow(t *testing.T) {
	c := newClinic(t, "CREATE TABLE CODE (CODE, EYE, NO)", "INSERT INTO CODE VALUES ('iop', 'R', 1), ('iop', 'L', 2), ('pd', 'B', '')", "CREATE TABLE T (ID, NO)")
	s := c.open(`
  - name: T
    rows: observation
    columns:
      ID: record.id
      NO: {lookup: "SELECT NO FROM CODE WHERE CODE = ? AND EYE = ?", with: [observation.code, observation.eye], as: integer}`)
	c.write(s, person(t, "r1", "P1", found("iop", "R", "", 0, 15.0), found("iop", "L", "", 0, 15.0), found("pd", "B", "", 0, 60.0), found("cct", "R", "", 0, 500.0)))
	c.want("SELECT NO FROM T", "1", "2", "NULL", "NULL")
	if c.hits != 0 || c.queries != 5 { // and the query above
		t.Errorf("%d hits and %d queries without cache", c.hits, c.queries)
	}
}

// Texts are as every database takes them, both ways.
func TestLookupOfBadText(t *testing.T) {
	c := newClinic(t, "CREATE TABLE T (V)")
	s := c.open(`
  - name: T
    rows: record
    columns:
      V: {lookup: "SELECT ? || '-a' || char(0)", with: record.labels.room}`)
	r := person(t, "r1", "P1")
	r.Labels = map[string]string{"room": "\xff"}
	c.write(s, r)
	c.want("SELECT V FROM T", "\ufffd-a\ufffd")
}

// The same lookup in two tables is two where its observation differs.
func TestLookupOfAPickedObservation(t *testing.T) {
	c := newClinic(t, "CREATE TABLE A (V); CREATE TABLE B (V)")
	s := c.open(`
  - name: A
    rows: exam
    where: {method: [final]}
    columns: {V: {lookup: "SELECT ? * 2", with: obs(sphere R)}}
  - name: B
    rows: exam
    where: {method: [unaided]}
    columns: {V: {lookup: "SELECT ? * 2", with: obs(sphere R)}}`)
	c.write(s, person(t, "r1", "P1", found("sphere", "R", "final", 0, 1.0), found("sphere", "R", "unaided", 0, 2.0)))
	c.want("SELECT A.V, B.V FROM A, B", "2|4")
}

func TestLookupThatFails(t *testing.T) {
	for _, class := range []sdk.Class{sdk.ClassBusy, sdk.ClassUnavailable, sdk.ClassUnknown, sdk.ClassNone} {
		c := newClinic(t, visitTables, "INSERT INTO PATIENT VALUES (1001, 'P1', '')")
		s := c.open(fmt.Sprintf(patientNumber, "required: true"))
		c.fail = func(*sdk.Query) error {
			if class == sdk.ClassNone {
				return syscall.ECONNRESET
			}
			return sdk.WithClass(class, syscall.ECONNRESET)
		}
		batch := []sdk.Record{withPressure(t, 1, "P1"), withPressure(t, 2, "P1")}
		if err := s.Write(context.Background(), batch); !errors.Is(err, syscall.ECONNRESET) || sdk.ClassOf(err) != class || c.writes != 0 {
			t.Errorf("class %v: write says %v of class %v after %d writes", class, err, sdk.ClassOf(err), c.writes)
		}
		c.fail = nil
		c.write(s, batch...)
		c.want("SELECT count(*) FROM VISIT", "2")
	}
	c := newClinic(t, visitTables, "DROP TABLE PATIENT")
	s := c.open(fmt.Sprintf(patientNumber, "required: true"))
	if refused := c.dead(s, withPressure(t, 1, "P1")); !strings.Contains(refused[0].Error(), "map VISIT.CHART: look up: ") {
		t.Errorf("refused: %v", refused[0])
	}
}
