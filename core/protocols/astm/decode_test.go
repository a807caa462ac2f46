package astm_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/sdk/exam"
)

func decode(t *testing.T, path string, data []byte) exam.Result {
	t.Helper()
	d := astm.Decode(data, astm.Options{})
	if want := transferWarnings(t, path); !slices.Equal(d.Warnings, want) {
		t.Errorf("%s: warnings of the transfer %q, want %q", filepath.Base(path), d.Warnings, want)
	}
	return d.Result
}

// transferWarnings are those that stand beside a list of exams.
func transferWarnings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path + ".want.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Exams    *[]json.RawMessage
		Warnings []string
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if want.Exams == nil {
		return nil
	}
	return want.Warnings
}

func TestSamples(t *testing.T) {
	examtest.SamplesOf(t, "testdata", "*.bin", 11, func(path string, data []byte) exam.Result { return decode(t, path, data) })
	examtest.SamplesOf(t, "testdata", "records*", 1, func(path string, data []byte) exam.Result { return decode(t, path, data) })
}

func TestSharedSamples(t *testing.T) {
	dir := examtest.Shared(t, "astm")
	examtest.SamplesOf(t, dir, "*.bin", 11, func(path string, data []byte) exam.Result { return decode(t, path, data) })
	examtest.SamplesOf(t, dir, "records*", 1, func(path string, data []byte) exam.Result { return decode(t, path, data) })
}

// TestKnownAnswers holds the checksums that others have computed.
func TestKnownAnswers(t *testing.T) {
	text, err := os.ReadFile("testdata/KNOWN-ANSWERS.txt")
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := os.ReadFile("testdata/KNOWN-ANSWERS.txt.want.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Control []string }
	if err := json.Unmarshal(wanted, &want); err != nil || len(want.Control) != 9 {
		t.Fatal(want, err)
	}
	names := strings.NewReplacer("<STX>", "\x02", "<ETX>", "\x03", "<ETB>", "\x17", "<CR>", "\r", "<LF>", "\n",
		"(cp1251: C9 7C D6 7C D3 7C CA)", "\xc9|\xd6|\xd3|\xca")
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		frame := []byte(names.Replace(strings.TrimSuffix(line, "\n")))
		var d astm.Decoder
		d.Write(frame)
		tok, ok := d.Next()
		if !ok || tok.Kind != astm.TokenFrame || !tok.Summed || n >= len(want.Control) || string(frame[len(frame)-4:len(frame)-2]) != want.Control[n] {
			t.Fatalf("line %d: %+v, %v", n, tok, ok)
		}
		if again := astm.AppendFrame(nil, tok.Number, tok.Text, tok.Last); !bytes.Equal(again, frame) {
			t.Errorf("line %d is made as %q", n, again)
		}
		n++
	}
	if n != len(want.Control) {
		t.Errorf("%d lines", n)
	}
}
