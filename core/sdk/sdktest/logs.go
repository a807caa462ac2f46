package sdktest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// levels are the words of @level.
func levels() []string { return []string{"trace", "debug", "info", "warn", "error"} }

// checkLogs looks at the standard error of a plugin that has handled so many records at the level info. It must have been
// stopped.
func checkLogs(t testing.TB, p *process, records int, patients []string) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(p.log.said()) {
		if !strings.HasPrefix(line, "{") {
			continue // its last words, where it dies
		}
		lines++
		var r struct {
			Level   string `json:"@level"`
			Message string `json:"@message"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Errorf("logged a line that begins like JSON and is none (%v): %.200q", err, line)
		} else if !slices.Contains(levels(), r.Level) || r.Message == "" {
			t.Errorf("logged a line without @level (%s) and @message: %.200q", strings.Join(levels(), ", "), line)
		}
		if t.Failed() {
			return
		}
	}
	if lines >= records {
		t.Errorf("logged %d lines over %d records: a line for each is too much", lines, records)
	}
	checkQuoted(t, "what it logs and prints", p.log.said()+p.log.logged(), patients)
}

// checkQuoted looks for a patient's data in what others see.
func checkQuoted(t testing.TB, where, text string, patients []string) {
	t.Helper()
	for _, p := range patients {
		if strings.Contains(text, p) {
			t.Errorf("%s shows a patient's id, name or date of birth", where)
			return
		}
	}
}

// shortest is the length from which a text is a patient's and not chance.
const shortest = 5

// patientsOf are what names the patients of exams.
func patientsOf(records []sdk.Record) (list []string) {
	for i := range records {
		r := &records[i]
		if r.Kind != exam.Kind {
			continue
		}
		e, err := exam.Decode(r.Data)
		if err != nil {
			continue // it is an attachment, or the sink's to say
		}
		for _, text := range []string{e.Patient.ID, e.Patient.Name, e.Patient.Birth} {
			if len(text) >= shortest && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	return list
}
