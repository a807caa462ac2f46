package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cable is a pair of ptys that socat joins: another program's line, with its own reads and writes between the two ends.
type cable struct {
	driver, instrument string // names that stay
	socat              *exec.Cmd
}

func newCable(t *testing.T) *cable {
	t.Helper()
	dir, err := os.MkdirTemp("", "cable") // a comma, as in a test's name, would part socat's words
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cable{driver: filepath.Join(dir, "driver"), instrument: filepath.Join(dir, "instrument")}
	c.plug(t)
	t.Cleanup(c.pull)
	return c
}

// plug starts socat, and waits until it passes on what comes.
func (c *cable) plug(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("socat")
	if err != nil {
		t.Skip("there is no socat: the same script runs on ptys of our own")
	}
	c.socat = exec.Command(program, "-d", "-d", "pty,raw,echo=0,link="+c.driver, "pty,raw,echo=0,link="+c.instrument)
	said, err := c.socat.StderrPipe()
	if err == nil {
		err = c.socat.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "starting data transfer loop") {
			return
		}
	}
	t.Fatalf("socat has ended: %v", c.socat.Wait())
}

// pull kills socat: both ptys are gone at once, and their names, as an adapter's.
func (c *cable) pull() {
	_ = c.socat.Process.Kill()
	_ = c.socat.Wait()
	_ = os.Remove(c.driver)
	_ = os.Remove(c.instrument)
}

// end is the instrument's end of it.
func (c *cable) end(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(c.instrument, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestOnSocat plays the same on ptys of socat.
func TestOnSocat(t *testing.T) {
	for name, p := range troubles() {
		t.Run(name, func(t *testing.T) {
			c := newCable(t)
			p.on(t, c.driver, c.end(t))
		})
	}
}

// TestSocatThatIsKilled takes the port away under the driver, and gives it back under the same name.
func TestSocatThatIsKilled(t *testing.T) {
	f := frames("ark", 2)
	c := newCable(t)
	r := newRig(t, map[string]any{"port": c.driver, "profile": "ark"})
	next := func(n int) {
		t.Helper()
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c.end(t), f[n-1]); err != nil {
			t.Fatal(err)
		}
		r.take(n, wait)
	}
	next(1)
	c.pull()
	if _, err := r.d.Read(t.Context()); err == nil {
		t.Error("Read of a port that is gone gives no error")
	}
	if err := r.open(); err == nil || !strings.Contains(err.Error(), "plugged in") {
		t.Errorf("Open while it is out: %v", err)
	}
	c.plug(t)
	next(2)
	if r.words() != "exam K-000001, exam K-000002" {
		t.Error(r.words())
	}
}
