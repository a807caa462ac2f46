package faults

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	sweep = flag.Int("sweep", 0, "0 skips it; of TestSyscallFails: how many runs with one failing call")
	held  = flag.Int("held", 0, "0 skips it; of TestSyscallKeepsFailing: how many of the kinds")
)

// trouble is a group of system calls and the error that they give.
type trouble struct {
	calls string
	errno string
	stops bool // nothing can be acknowledged while each of them fails
	held  bool // or nothing but what is open goes on; like those that stop, one for TestSyscallKeepsFailing
	sink  bool // met in the file sink's newest file only
}

func (f *trouble) String() string { return f.calls + "=" + f.errno }

// args are strace's for the calls that when names: "3" the third in each thread, "" all.
func (f *trouble) args(trace, when string) []string {
	if when != "" {
		when = ":when=" + when
	}
	return []string{"-f", "-qq", "-o", trace, "-e", "trace=" + f.calls, "-e", "inject=" + f.calls + ":error=" + f.errno + when}
}

// troubles come in the order of their weight: a short run has the first ones.
var troubles = []trouble{
	{calls: "fsync,fdatasync", errno: "EIO", stops: true},
	{calls: "pwrite64", errno: "ENOSPC", stops: true},
	{calls: "pwrite64", errno: "EIO", stops: true},
	{calls: "unlink,unlinkat", errno: "EIO"},
	{calls: "openat", errno: "ENOSPC", held: true},
	{calls: "rename,renameat,renameat2", errno: "EIO"},
	{calls: "ftruncate,truncate", errno: "EIO"},
	{calls: "write", errno: "ENOSPC", sink: true},
	{calls: "write", errno: "EIO", sink: true},
	{calls: "openat", errno: "EMFILE"},
	{calls: "mkdir,mkdirat", errno: "ENOSPC"},
}

func needStrace(t *testing.T) {
	t.Helper()
	if err := exec.Command("strace", "-e", "trace=none", "true").Run(); err != nil {
		t.Skipf("needs strace that may trace: %v", err)
	}
}

// TestSyscallFails lets one system call in each thread of the host and of its plugins fail, a different one in each run,
// from the start of the process on. The host must live on once it was ready; before that it may end with a word. Then it is
// killed, which would lose what it acknowledged and did not store.
func TestSyscallFails(t *testing.T) {
	if *sweep == 0 {
		t.Skip("only with -sweep")
	}
	needStrace(t)
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.configure(c.loud())
	injected, refused := 0, 0
	for n := range *sweep {
		c.drop(o, 2)
		f, when := &troubles[n%len(troubles)], fmt.Sprint(1+random.IntN(60))
		trace := c.path("trace")
		c.wrap = append([]string{"strace", "-D", "--seccomp-bpf"}, f.args(trace, when)...)
		if f.sink {
			c.wrap = append(c.wrap, "-P", c.newestLines())
		}
		if !c.meet(f, when, time.Duration(random.IntN(700))*time.Millisecond) {
			refused++
		}
		injected += faultsIn(t, trace)
		os.Remove(trace)
	}
	c.wrap = nil
	told := c.account(o)
	if injected == 0 || told == 0 {
		t.Fatalf("%d calls failed, %d records were told", injected, told)
	}
	t.Logf("%d runs, %d failed calls, %d starts refused with a word; %d records of the witness, %d files, none lost", *sweep, injected, refused, told, len(o.share))
}

// meet runs the host into the fault, for a while after its ready line, and kills it. It is false when the host ended
// before it was ready, which must not be a crash.
func (c *clinic) meet(f *trouble, when string, long time.Duration) bool {
	c.t.Helper()
	c.launch()
	defer c.kill()
	select {
	case <-c.ready:
	case <-c.ended:
		text, err := os.ReadFile(c.path("hostd.out"))
		if err != nil || bytes.Contains(text, []byte("panic:")) || bytes.Contains(text, []byte("fatal error:")) {
			c.t.Fatalf("%s at %s: the host crashed at its start: %v", f, when, errors.Join(err, c.err))
		}
		return false
	case <-time.After(patience):
		c.t.Fatalf("%s at %s: the host did not get ready", f, when)
	}
	select {
	case <-c.ended:
		c.t.Fatalf("%s at %s: the host ended: %v", f, when, c.err)
	case <-time.After(long): // the instant of the kill is what is random
	}
	return true
}

// newestLines is the file sink's newest file, in which it goes on.
func (c *clinic) newestLines() string {
	list, err := filepath.Glob(c.path("archive/hostd-*.ndjson"))
	if err != nil || len(list) == 0 {
		return c.path("archive/none")
	}
	return list[len(list)-1]
}

// faultsIn counts the calls that were made to fail.
func faultsIn(t *testing.T, trace string) int {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "(INJECTED)")
}

// TestSyscallKeepsFailing lets every call of a kind fail in a host that runs, for seconds, and then no more. Where nothing can be
// stored, nothing may be acknowledged; afterwards the same process goes on.
func TestSyscallKeepsFailing(t *testing.T) {
	if *held == 0 {
		t.Skip("only with -held")
	}
	needStrace(t)
	seeded(t)
	c, o := newClinic(t), newOracle()
	var kinds []*trouble
	for i := range troubles {
		if f := &troubles[i]; (f.stops || f.held) && len(kinds) < *held {
			kinds = append(kinds, &troubles[i])
		}
	}
	for _, f := range kinds {
		c.configure(c.loud())
		if f.stops { // one segment takes it all: a new one would be refused for its folder's sake, and hide what the old one does
			c.configure(strings.Replace(c.loud(), "segment_size_mb: 1", "segment_size_mb: 64", 1))
		}
		c.drop(o, 5)
		c.start()
		before := c.told(t)
		c.eventually("intake goes on", patience, func() bool { return c.told(t) > before+100 })
		c.suffer(f, o)
		c.kill()
	}
	told := c.account(o)
	t.Logf("%d records of the witness, %d files, none lost", told, len(o.share))
}

// holdFault is how long every call fails.
const holdFault = 2 * time.Second

func (c *clinic) suffer(f *trouble, o *oracle) {
	c.t.Helper()
	trace := c.path("trace-held")
	args := append(f.args(trace, ""), "-p", fmt.Sprint(c.cmd.Process.Pid))
	cmd := exec.CommandContext(c.t.Context(), "strace", args...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	// strace has every thread before it lets a call fail: after the first one none succeeds.
	c.eventually(f.String()+": a call fails", patience, func() bool { return faultsIn(c.t, trace) > 0 || !c.alive() })
	if f.stops {
		c.refusedFor(f, 10)
	}
	before, away := c.told(c.t), len(c.names("in/done"))
	c.drop(o, 3)
	time.Sleep(holdFault) // the fault lasts
	if told := c.told(c.t); f.stops && told != before {
		c.t.Errorf("%s: %d records were acknowledged while nothing could be stored", f, told-before)
	}
	if now := len(c.names("in/done")); f.stops && now != away {
		c.t.Errorf("%s: %d files were put away while nothing could be stored", f, now-away)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	cmd.Wait() // strace's exit code says nothing of the host
	from, last := time.Now(), c.told(c.t)
	c.eventually(f.String()+": the host goes on", patience, func() bool { return !c.alive() || c.told(c.t) > last })
	if !c.alive() {
		c.t.Fatalf("%s: the host has ended: %v", f, c.err)
	}
	c.t.Logf("%s: %d calls failed; intake was back %s after the last", f, faultsIn(c.t, trace), time.Since(from).Round(time.Millisecond))
	os.Remove(trace)
}

// onTheWay is more than the records that can be acknowledged already, and not be told yet.
const onTheWay = 1000

// refusedFor waits until the status says n times in a row that the witness was refused.
func (c *clinic) refusedFor(f *trouble, n int) {
	c.t.Helper()
	row, began := 0, c.told(c.t)
	c.eventually(f.String()+": the devices are refused", patience, func() bool {
		s, err := c.status()
		if err == nil && s.device("wit").Error != "" {
			row++
		} else {
			row = 0
		}
		if told := c.told(c.t); told > began+onTheWay {
			c.t.Fatalf("%s: intake went on while nothing could be stored: %d records", f, told-began)
		}
		return row >= n
	})
}
