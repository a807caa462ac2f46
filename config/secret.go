package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// masked stands for a secret wherever one would be shown.
const masked = "***"

// Secret is a text that prints, logs and marshals itself masked; an empty one stays empty.
type Secret string

// Reveal gives the text itself.
func (s Secret) Reveal() string { return string(s) }

// String is the mask.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString is the mask.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format writes the mask under every verb.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		text = s.GoString()
	}
	_, _ = f.Write([]byte(text)) // a fmt.State keeps its own errors
}

// MarshalText gives the mask to JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives the mask to log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Percent is a share in whole percent, written "85%".
type Percent int

// String is the form in which a percent is written.
func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

// MarshalText writes the form that is read.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

var errPercent = errors.New("not a percent")

func parsePercent(text string) (Percent, error) {
	digits, ok := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0, errPercent
	}
	return Percent(n), nil
}
