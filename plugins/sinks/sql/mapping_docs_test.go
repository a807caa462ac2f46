package main

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

func page(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("../../../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(raw), "\r\n", "\n")
}

// block is the first block of the language on the page that begins with the text.
func block(t testing.TB, page, language, begins string) string {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(m[1], begins) {
			return m[1]
		}
	}
	t.Fatalf("the page has no %s that begins with %q", language, begins)
	return ""
}

// exampleSettings are those of the sink on the page.
func exampleSettings(t testing.TB, page string) sdk.Settings {
	t.Helper()
	var file struct {
		Sinks []struct{ Settings json.RawMessage }
	}
	if err := json.Unmarshal(jsonOf(t, block(t, page, "yaml", "sinks:")), &file); err != nil || len(file.Sinks) != 1 {
		t.Fatalf("the page's sinks: %v", err)
	}
	return sdk.NewSettings(file.Sinks[0].Settings)
}

// cells are the rows of the page's table with the head.
func cells(t *testing.T, page, head string) (rows []string) {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n"+head+"\n")
	if !ok {
		t.Fatalf("the page has no table %s", head)
	}
	for _, line := range strings.Split(rest, "\n")[1:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, strings.ReplaceAll(strings.Trim(line, "| "), " | ", "|"))
	}
	return rows
}

// visit is the exam that the page tells of.
func visit(t testing.TB) sdk.Record {
	t.Helper()
	e := &exam.Exam{
		Patient: exam.Patient{ID: "T-0421", Name: "Muster Anna", Birth: "1970-03-15", Sex: "F"},
		Device:  exam.Device{Make: "SYNTH", Model: "AR-9", Serial: "0042"}, TakenAt: "2025-03-24T10:31:40",
		Observations: []exam.Observation{
			{Code: "sphere", Eye: "R", Value: exam.Number(-2), Unit: "D", Method: "lensmeter"},
			{Code: "sphere", Eye: "R", Value: exam.Number(-1), Unit: "D", Method: "autoref", Seq: 1},
			{Code: "sphere", Eye: "R", Value: exam.Number(-1.25), Unit: "D", Method: "autoref", Text: "- 1.25"},
			{Code: "cylinder", Eye: "R", Value: exam.Number(-0.5), Unit: "D", Method: "autoref"},
			{Code: "axis", Eye: "R", Value: exam.Number(180), Unit: "deg", Method: "autoref"},
			{Code: "sphere", Eye: "L", Value: exam.Number(-1.5), Unit: "D", Method: "autoref", Seq: 1},
			{Code: "sphere", Eye: "L", Value: exam.Number(-1.75), Unit: "D", Method: "autoref", Seq: 2},
			{Code: "pd", Eye: "B", Value: exam.Number(63), Unit: "mm", Method: "autoref"},
			{Code: "iop", Eye: "R", Value: exam.Number(15), Unit: "mmHg", Method: "tono", Text: "15.0"},
			{Code: "iop", Eye: "R", Value: exam.Number(14), Unit: "mmHg", Method: "tono", Seq: 1},
			{Code: "iop_corrected", Eye: "R", Value: exam.Number(16.25), Unit: "mmHg", Method: "tono_corrected", Text: "16.3"},
			{Code: "iop", Eye: "L", Value: exam.Text(">60"), Unit: "mmHg", Method: "tono"},
			{Code: "cct", Eye: "L", Value: exam.Number(540), Unit: "um", Method: "pachy"},
		},
	}
	return recordOf(t, "2025-77", e)
}

func recordOf(t testing.TB, id string, e *exam.Exam) sdk.Record {
	t.Helper()
	data, err := exam.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return sdk.Record{
		ID: id, Source: "ark-1", Kind: exam.Kind, ContentType: exam.ContentType, Data: data, Raw: []byte("raw of " + id), Time: epoch, Received: epoch, Seq: 7,
		Patient: e.Patient.ID, Unassigned: e.Patient.ID == "",
	}
}

// TestThePageIsRight runs the example of docs/mapping.md.
func TestThePageIsRight(t *testing.T) {
	page := page(t)
	proposed := block(t, page, "sql", "CREATE TABLE \"REFRACTION\"")
	c := newClinic(t, "DROP TABLE PATIENT", block(t, page, "sql", "CREATE TABLE PATIENT"), proposed)
	s := &sink{}
	if err := s.Open(context.Background(), sdk.SinkEnv{Settings: exampleSettings(t, page), Store: c}); err != nil {
		t.Fatal(err)
	}
	none := catalogFunc(func(string) (sdk.Table, error) { return sdk.Table{Database: "sqlite"}, nil })
	found, err := s.Check(t.Context(), sdk.SinkEnv{Settings: exampleSettings(t, page), Store: c}, none)
	var got strings.Builder
	for _, f := range found {
		got.WriteString(f.Proposal + "\n")
	}
	if err != nil || got.String() != proposed {
		t.Errorf("proposed is\n%s, %v; the page says\n%s", got.String(), err, proposed)
	}

	refused := c.dead(s, visit(t))
	if want := "map IOP.CHART_NO: the lookup found nothing: there is no value, and the column must have one"; !strings.Contains(page, want) {
		t.Errorf("the page does not have the reason %q", want)
	}
	if want := "map REFRACTION.CHART_NO: the lookup found nothing: there is no value, and the column must have one"; refused[0].Error() != want {
		t.Errorf("without the patient: %v, want %q", refused[0], want)
	}
	c.exec("INSERT INTO PATIENT VALUES (1007, 'T-0421', 'Muster Anna')")
	c.write(s, visit(t))
	for _, table := range []struct{ head, from string }{
		{"| SOURCE | EXAM_ID | EYE | CHART_NO | TAKEN_AT | SPH | CYL | AXIS | PD | ENTERED_BY |", "REFRACTION ORDER BY EYE"},
		{"| EYE | HOW | SHOT | MMHG | SENT |", "IOP ORDER BY EYE, HOW, SHOT"},
	} {
		columns := strings.ReplaceAll(strings.Trim(table.head, "| "), " | ", ", ")
		c.want("SELECT "+columns+" FROM "+table.from, cells(t, page, table.head)...)
	}
}

// TestThePageHasEveryWord holds the page and the code together.
func TestThePageHasEveryWord(t *testing.T) {
	page := page(t)
	word := func(w string) {
		if !strings.Contains(page, "`"+w+"`") {
			t.Errorf("the page does not explain `%s`", w)
		}
	}
	for _, f := range fields() {
		word(f.name)
	}
	for _, k := range columnKeys {
		word(k)
	}
	for _, k := range conversions {
		word(k.String())
	}
	list, err := sdk.Describe(tableSetting{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		word(s.Name)
		for _, e := range s.Enum {
			word(e)
		}
		for _, f := range s.Fields {
			if !strings.Contains(page, "| `"+f.Name+": ") {
				t.Errorf("the page does not explain where.%s", f.Name)
			}
		}
	}
	// Every name in a table of the page that looks like a source is one.
	var names []string
	for _, f := range fields() {
		names = append(names, f.name)
	}
	for _, m := range regexp.MustCompile("`((?:record|exam|patient|device|observation|attachment)\\.[a-z_.]+)`").FindAllStringSubmatch(page, -1) {
		if !slices.Contains(names, m[1]) && !strings.HasPrefix(m[1], labelPrefix) {
			t.Errorf("the page names %s, which is no source", m[1])
		}
	}
	for _, wanted := range []string{errRequired.Error(), errNoNumber.Error()} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page does not have the reason %q", wanted)
		}
	}
}
