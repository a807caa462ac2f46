//go:build unix

package main_test

import (
	"strings"
	"syscall"
	"testing"
)

// TestReloadAtHangup: SIGHUP resolves references anew, whose files nobody watches.
func TestReloadAtHangup(t *testing.T) {
	t.Parallel()
	c := newClinic(t, "")
	c.configured("", "clinic: test", "clinic: ${file:name}")
	c.write("name", "first")
	c.start()
	c.write("name", "second")
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.until("the new name", func(status) bool { return strings.HasPrefix(c.must("status"), "second:") })
	if !strings.Contains(c.log(), "by=SIGHUP") || !strings.Contains(c.read("data/audit.ndjson"), "SIGHUP") {
		t.Errorf("nobody says who asked:\n%s", c.log())
	}
	c.stop()
}
