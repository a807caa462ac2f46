package config_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/config/dpapi"
)

// A key that was protected on this computer is the spool's key, and is never shown; a file that is none is a fault.
func TestProtectedFile(t *testing.T) {
	key := strings.Repeat("0f", 32)
	content, err := dpapi.Protect([]byte(key), dpapi.Machine)
	if err != nil {
		t.Fatal(err)
	}
	protected := filepath.Join(t.TempDir(), "spool.key")
	if err := os.WriteFile(protected, content, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Files: []string{writeKeyed(t, "${dpapi:"+protected+"}")}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.Spool.KeyBytes(); err != nil || hex.EncodeToString(b) != key {
		t.Errorf("%x, %v", b, err)
	}
	if text := c.Redacted(); strings.Contains(text, key) || !strings.Contains(text, "${dpapi:") {
		t.Error(text)
	}
	if err := os.WriteFile(protected, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = config.Load(config.Options{Files: []string{writeKeyed(t, "${dpapi:"+protected+"}")}})
	var faults config.Faults
	if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(faults[0].Text, "hostd spool key --dpapi") || strings.Contains(err.Error(), key) {
		t.Errorf("Load = %v", err)
	}
}
