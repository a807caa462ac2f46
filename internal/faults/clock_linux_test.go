package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	steps = flag.Int("steps", 0, "of TestClock: how often the clock is put; 0 skips it, for its host is built with a package time of its own")
	dwell = flag.Duration("dwell", 0, "of TestClock: how long nothing may go down after the clock was put back; what watches a connection takes 15 s")
)

// shiftFile is the file in the host's working folder, which is also its plugins', with the shift of the wall clock in seconds.
const shiftFile = "shift"

// shifter is added to core/sdk, which the host and every plugin have: it reads the shift again and again. Now itself makes
// no call of the system, which timers would not survive.
const shifter = `package sdk

import (
	"os"
	"strconv"
	"time"
)

func init() {
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			text, err := os.ReadFile("shift")
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				time.ShiftWall(n)
			}
		}
	}()
}
`

// shiftedNow is what package time becomes: its wall clock can be put, its monotonic clock runs on.
const shiftedNow = `
var wallShift atomic.Int64 // seconds

// ShiftWall puts the wall clock of this process.
func ShiftWall(seconds int64) { wallShift.Store(seconds) }

func shifted() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + wallShift.Load(), nsec, mono
}
`

// clockOverlay gives package time and core/sdk. Its text is always the same, so that a second build finds everything made.
func clockOverlay(t *testing.T) map[string]string {
	t.Helper()
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, change := range [][2]string{
		{"sec, nsec, mono := runtimeNow()\n\tif mono == 0 {", "sec, nsec, mono := shifted()\n\tif mono == 0 {"},
		{"import (\n", "import (\n\t\"sync/atomic\"\n"},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Skipf("package time of this Go is another one: %q is not in it, or not once", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	sdk, err := filepath.Abs(filepath.Join(root, "core", "sdk", "shifted_by_test.go.go"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{path: text + shiftedNow, sdk: shifter}
}

// shiftedPrograms builds hostd and the plugins with a clock that can be put.
func shiftedPrograms(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	texts := clockOverlay(t)
	broken, err := mutated(*mutant)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range broken {
		texts[path] = text
	}
	if err := buildWith(dir, t.TempDir(), texts, everything...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// jumps come in the order of their weight: a short run has the first ones.
var jumps = []time.Duration{
	time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour,
	-time.Hour, time.Hour, -24 * time.Hour, 24 * time.Hour,
}

// TestClock puts the clock of the host and of all its plugins by an hour and by a day, to and fro, under load. No plugin may
// go down, intake and delivery go on, and a plugin and a host that start in the other time do their work.
func TestClock(t *testing.T) {
	if *steps == 0 {
		t.Skip("only with -steps")
	}
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.bin = shiftedPrograms(t)
	c.host = filepath.Join(c.bin, "hostd")
	c.configure(c.flow())
	c.start()
	var shift time.Duration
	for n := range *steps {
		jump := jumps[n%len(jumps)]
		c.goesOn("before a step", o)
		down := c.count("msg=down")
		shift += jump
		c.shift(shift)
		began := time.Now() // its monotonic part counts
		c.goesOn(fmt.Sprintf("step by %s", jump), o)
		for jump < 0 && time.Since(began) < *dwell {
			c.goesOn(fmt.Sprintf("%s after a step by %s", time.Since(began).Round(time.Second), jump), o)
		}
		if now := c.count("msg=down"); now > down {
			t.Errorf("step by %s: something went down %d times", jump, now-down)
		}
		switch random.IntN(3) {
		case 0:
			c.killPlugin([]string{"witness", "folder", "generator", "sql", "file"}[random.IntN(5)])
			c.goesOn("after a plugin was killed", o)
		case 1:
			c.kill()
			c.start()
		}
	}
	c.kill()
	told := c.account(o)
	t.Logf("%d steps: %d records of the witness, %d of the generator, %d files, none lost", *steps, told, o.row["gen"].last, len(o.share))
}

// shift puts the clock, in one step, and waits until the host shows the new time.
func (c *clinic) shift(by time.Duration) {
	c.t.Helper()
	path := c.path(shiftFile)
	if err := os.WriteFile(path+".new", fmt.Append(nil, int64(by/time.Second)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.t.Fatal(err)
	}
	near := time.Now().Add(by)
	c.eventually("the clock is put", *patience, func() bool {
		s, err := c.status()
		return err == nil && s.device("wit").LastRecordAt.Sub(near).Abs() < 10*time.Minute
	})
}

// goesOn drops files and waits until they and new records of the witness are delivered by both sinks.
func (c *clinic) goesOn(what string, o *oracle) {
	c.t.Helper()
	s := c.until(what+": the host answers", func(*status) bool { return true })
	c.drop(o, 3)
	told, emr, archive := c.told(c.t), s.sink("emr").Delivered, s.sink("archive").Delivered
	c.eventually(what+": the flow goes on", *patience, func() bool {
		s, err := c.status()
		return err == nil && len(c.names("in")) == 0 && c.told(c.t) > told+200 && s.sink("emr").Delivered > emr+100 && s.sink("archive").Delivered > archive+100
	})
}

// count is how often the host's log has a text.
func (c *clinic) count(text string) int {
	c.t.Helper()
	b, err := os.ReadFile(c.path("log/hostd.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Count(string(b), text)
}
