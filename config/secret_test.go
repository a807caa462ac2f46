package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

func TestSecretIsMasked(t *testing.T) {
	s := config.Secret(hidden)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%t"} {
		fmt.Fprintf(&out, verb+" ", s)
		fmt.Fprintf(&out, verb+" ", struct{ Dsn config.Secret }{s})
		fmt.Fprintf(&out, verb+" ", config.Database{DSN: s})
		fmt.Fprintf(&out, verb+" ", &config.Config{Database: config.Database{DSN: s}})
	}
	fmt.Fprint(&out, s, fmt.Errorf("open: %v", s))
	if err := json.NewEncoder(&out).Encode(config.Database{DSN: s}); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("open", "dsn", s, "database", config.Database{DSN: s})
	for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("a secret shows as %q in\n%s", form, out.String())
		}
	}
	if s.Reveal() != hidden || s.String() != "***" || config.Secret("").String() != "" {
		t.Error("Reveal or String is wrong")
	}
}
