package logs_test

import (
	"bytes"
	"strings"
	"testing"
)

// TestMasking uses made-up numbers of the form of a resident registration number.
func TestMasking(t *testing.T) {
	var out bytes.Buffer
	log := open(t, logging(nil), &out).Logger("host")
	const m = "******-*******"
	for in, want := range map[string]string{
		"900101-1234567":                     m,
		"9001011234567":                      m,
		"id=900101-1234567;":                 "id=" + m + ";",
		"a9001011234567b":                    "a" + m + "b",
		"환자900101-1234567님":                  "환자" + m + "님",
		"900101-1234567 9001012345678":       m + " " + m,
		"1-900101-1234567-8":                 "1-" + m + "-8",
		"900101-12345678":                    "900101-12345678",
		"0900101-1234567":                    "0900101-1234567",
		"90010112345678":                     "90010112345678",
		"900101-123456":                      "900101-123456",
		"900101--1234567":                    "900101--1234567",
		"900101-900101-1234567":              "900101-" + m,
		"2025-09-26 17:01:34.744":            "2025-09-26 17:01:34.744",
		"900101":                             "900101",
		"347e54c5e52a6eba9001011234567fd3-r": "347e54c5e52a6eba9001011234567fd3-r", // a hash
		"":                                   "",
	} {
		out.Reset()
		log.Info(in, "value", in, "key "+in, 1)
		line := out.String()
		if in != "" && !strings.Contains(line, " msg="+quoted(want)+" ") || !strings.Contains(line, " value="+quoted(want)) {
			t.Errorf("%q gives %s", in, line)
		}
		if in != want && strings.Count(line, "******")+strings.Count(line, "______") < 3 {
			t.Errorf("%q: message, value and key must be masked: %s", in, line)
		}
	}
}

// quoted is how logrus writes a text.
func quoted(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || strings.ContainsRune("-./_@^+", r)))
	})
	if plain {
		return s
	}
	return `"` + s + `"`
}
