package dpapi_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/hostd/hostd/config/dpapi"
)

// Elsewhere than on Windows it is a plain refusal, whatever the file holds.
func TestOnlyOnWindows(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this is Windows")
	}
	if err := dpapi.Supported(); !errors.Is(err, dpapi.ErrNotWindows) {
		t.Error(err)
	}
	for _, scope := range []dpapi.Scope{dpapi.Machine, dpapi.User} {
		if b, err := dpapi.Protect([]byte("a secret"), scope); b != nil || !errors.Is(err, dpapi.ErrNotWindows) {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, content := range []string{"", "hostd dpapi 1\nAAAA\n"} {
		if b, err := dpapi.Open([]byte(content)); b != nil || !errors.Is(err, dpapi.ErrNotWindows) {
			t.Errorf("%q, %v", b, err)
		}
	}
}
