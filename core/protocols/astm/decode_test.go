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

// TestBounded has Decode keep its bound of memory and end soon, whatever is said to it again and again.
func TestBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("long with the race detector; FuzzDecode holds the same bound")
	}
	for name, data := range map[string]string{
		"results":         "H|\\^&\r" + strings.Repeat("R|||1\r", astm.MaxResults) + "L|1\r",
		"orders":          "H|\\^&\r" + strings.Repeat("O\rR|||1\r", astm.MaxOrders) + "L|1\r",
		"too many":        "H|\\^&\r" + strings.Repeat("R|||1\r", 50_000) + "L|1\r",
		"messages":        strings.Repeat("H|\rR|||1\rL\r", 20_000),
		"patients":        "H|\\^&\r" + strings.Repeat("P|||x\r", 50_000) + "L|1\r",
		"LF":              "H|\\^&\n" + strings.Repeat("C\n", 100_000) + "L|1\n",
		"empty lines":     strings.Repeat("\n", 1<<18),
		"a word":          "H|" + strings.Repeat("x", 3<<19),
		"STX":             strings.Repeat(stx, 1<<18),
		"STX ETX":         strings.Repeat("\x02\x03", 1<<17),
		"ENQ":             strings.Repeat(enq, 1<<17),
		"noise and ENQ":   strings.Repeat("x"+enq+eot, 1<<15),
		"bad frames":      strings.Repeat(spoilt, 1<<14),
		"a frame, cut":    strings.Repeat(enq+head+eot, 1<<12),
		"one long frame":  enq + "\x021" + strings.Repeat("x", 1<<20),
		"a message, open": strings.Repeat("H|\r", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			examtest.Bounded(t, []byte(data), func() exam.Result { return astm.Decode([]byte(data), astm.Options{}).Result })
		})
	}
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
