package dpapi_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hostd/hostd/config/dpapi"
)

func TestRoundTrip(t *testing.T) {
	for _, scope := range []dpapi.Scope{dpapi.Machine, dpapi.User} {
		for _, secret := range [][]byte{[]byte("s"), bytes.Repeat([]byte{0, 255}, 16), bytes.Repeat([]byte("long "), 2000)} {
			content, err := dpapi.Protect(secret, scope)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(content, secret) && len(secret) > 1 {
				t.Error("the secret stands in its file")
			}
			edited := "\ufeff" + strings.ReplaceAll(string(content), "\n", "\r\n") // as an editor saves it
			for _, c := range []string{string(content), edited} {
				if got, err := dpapi.Open([]byte(c)); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("scope %d, %d bytes: %d bytes back, %v", scope, len(secret), len(got), err)
				}
			}
		}
	}
}

// What is no such file, or was changed, is told apart and never opened.
func TestOtherContentIsRefused(t *testing.T) {
	content, err := dpapi.Protect([]byte("a secret of some length"), dpapi.Machine)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(content), "\n", 2)
	first, _, _ := strings.Cut(lines[1], "\n")
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"empty":         {"", dpapi.ErrForm},
		"head alone":    {lines[0] + "\n", dpapi.ErrForm},
		"without head":  {lines[1], dpapi.ErrForm},
		"other version": {"hostd dpapi 2\n" + lines[1], dpapi.ErrForm},
		"no base64":     {lines[0] + "\n%%%\n", dpapi.ErrForm},
		"not Windows's": {lines[0] + "\nAAAA\n", dpapi.ErrElsewhere},
		"cut off":       {lines[0] + "\n" + first, dpapi.ErrElsewhere},
	} {
		if got, err := dpapi.Open([]byte(c.content)); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v, want %v", name, got, err, c.want)
		}
	}
}
