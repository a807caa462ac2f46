package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	steps   = flag.Int("steps", 0, "of TestClock: how often the clock is put; 0 skips it, for its host and plugins are built anew")
	shifted = flag.String("shifted", "", "of TestClock: folder of such a host and plugins; empty builds them")
	dwell   = flag.Duration("dwell", 0, "of TestClock: how long nothing may go down after the clock was put back; what watches a connection takes 15 s")
)

// shiftFile is the file in the host's working folder, which is also its plugins', with the shift of the wall clock in seconds.
const shiftFile = "shift"

// shifter is added to core/sdk, which the host and every plugin have: from the start of the process on, time.Now is another
// one, also for what is not ours. It reads the shift again and again. The monotonic clock runs on, as the timers do.
const shifter = `package sdk

import (
	"encoding/binary"
	"os"
	"reflect"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var (
	begun     = time.Now()
	wallShift atomic.Int64 // seconds
)

// shiftedNow is begun, as much later as the monotonic clock says; then only its wall clock is put, whose seconds are bits 30
// to 62 of a Time with both.
func shiftedNow() time.Time {
	t := begun.Add(time.Since(begun))
	*(*uint64)(unsafe.Pointer(&t)) += uint64(wallShift.Load()) << 30
	return t
}

func init() {
	readShift()
	now, page := reflect.ValueOf(time.Now).Pointer(), uintptr(syscall.Getpagesize())
	text := unsafe.Slice((*byte)(unsafe.Pointer(now&^(page-1))), 2*page)
	if err := syscall.Mprotect(text, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC); err != nil {
		panic(err)
	}
	to := shiftedNow
	jump := binary.LittleEndian.AppendUint64([]byte{0x48, 0xba}, *(*uint64)(unsafe.Pointer(&to))) // mov rdx, to
	copy(text[now&(page-1):], append(jump, 0xff, 0x22)) // jmp [rdx]
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			readShift()
		}
	}()
}

func readShift() {
	text, err := os.ReadFile("shift")
	if err != nil {
		return
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		wallShift.Store(n)
	}
}
`

// needClock skips where the jump of shifter is none.
func needClock(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the clock of a process is put in the machine code of amd64")
	}
}

var clockwork struct {
	once sync.Once
	dir  string
	err  error
}

// shiftedPrograms gives the folder of a host and plugins whose clock can be put. The host has the mutants' lines.
func shiftedPrograms(t *testing.T) string {
	t.Helper()
	clockwork.once.Do(func() { clockwork.dir, clockwork.err = buildShifted(t) })
	if clockwork.err != nil {
		t.Fatal(clockwork.err)
	}
	return clockwork.dir
}

func buildShifted(t *testing.T) (dir string, err error) {
	if *shifted != "" {
		return filepath.Abs(*shifted)
	}
	texts, err := mutated()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(root, "core/sdk/shifter.go"))
	if err != nil {
		return "", err
	}
	texts[path] = shifter
	programs(t) // has the folder
	dir = filepath.Join(binaries.temp, "shifted")
	return dir, buildWith(dir, binaries.temp, texts, "./cmd/hostd", "./plugins/devices/generator", "./plugins/devices/folder",
		"./plugins/sinks/sql", "./plugins/sinks/file", "./internal/faults/witness")
}

// jumps come in the order of their weight: a short run has the first ones.
var jumps = []time.Duration{
	-24 * time.Hour, 24 * time.Hour, time.Hour, -time.Hour,
	-time.Hour, time.Hour, 24 * time.Hour, -24 * time.Hour,
}

// TestClock puts the clock of the host and of all its plugins by an hour and by a day, to and fro, under load. No plugin may
// go down, intake and delivery go on, and a plugin and a host that start in the other time do their work.
func TestClock(t *testing.T) {
	if *steps == 0 {
		t.Skip("only with -steps")
	}
	needClock(t)
	random := seeded(t)
	t.Parallel()
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
