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
	sweep     = flag.Int("sweep", 0, "0 skips it; of TestSyscallFails: how many runs with one failing call")
	sweepFrom = flag.Int("sweep-from", 0, "of TestSyscallFails: how many runs came before, so that a long form can be run in parts beside each other")
	held      = flag.Int("held", 0, "0 skips it; of TestSyscallKeepsFailing: how many of the kinds")
)

// trouble is a group of system calls and the error that they give.
type trouble struct {
	calls string
	errno string
	stops bool // nothing can be acknowledged while each of them fails
}

func (f *trouble) String() string { return f.calls + "=" + f.errno }

// args are strace's for the calls that when names: "3" the third in each thread, "" all.
func (f *trouble) args(trace, when string) []string {
	if when != "" {
		when = ":when=" + when
	}
	return []string{"-f", "-qq", "-o", trace, "-e", "trace=" + f.calls, "-e", "inject=" + f.calls + ":error=" + f.errno + when}
}

// heldTroubles are those of TestSyscallKeepsFailing, in the order of their weight: a short run has the first ones.
var heldTroubles = []trouble{
	{"fsync,fdatasync", "EIO", true},
	{"pwrite64", "ENOSPC", true},
	{"pwrite64", "EIO", true},
	{"openat", "ENOSPC", false}, // what is open goes on
}

// Of ten runs of TestSyscallFails six meet what stores, two what opens, and one the file sink's newest file. In the m-th
// run of its kind the m-th of each of these calls fails, in each thread: it counts for itself. One run is aimed: the
// next write to the spool's newest segment fails in a host that runs.
var (
	storing = [][]trouble{
		{{calls: "fsync,fdatasync", errno: "EIO"}},
		{{calls: "pwrite64", errno: "EIO"}, {calls: "pwrite64", errno: "ENOSPC"}},
		{{calls: "ftruncate,truncate", errno: "EIO"}},
		{{calls: "unlink,unlinkat", errno: "EIO"}},
		{{calls: "rename,renameat,renameat2", errno: "EIO"}, {calls: "rename,renameat,renameat2", errno: "ENOSPC"}},
	}
	opening = [][]trouble{
		{{calls: "openat", errno: "ENOSPC"}, {calls: "openat", errno: "EIO"}, {calls: "openat", errno: "EMFILE"}},
		{{calls: "mkdir,mkdirat", errno: "ENOSPC"}},
	}
	sinking = [][]trouble{
		{{calls: "write", errno: "EIO"}, {calls: "write", errno: "ENOSPC"}},
	}
)

// injection is what one run of TestSyscallFails meets.
type injection struct {
	troubles []trouble
	nth      int
	only     string // path that the calls are about; empty: any
}

func (i *injection) String() string { return fmt.Sprintf("call %d of %v", i.nth, i.troubles) }

// args are strace's.
func (i *injection) args(trace string) []string {
	args := []string{"-D", "--seccomp-bpf", "-f", "-qq", "-o", trace}
	var calls []string
	for n := range i.troubles {
		f := &i.troubles[n]
		calls = append(calls, f.calls)
		args = append(args, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", f.calls, f.errno, i.nth))
	}
	if args = append(args, "-e", "trace="+strings.Join(calls, ",")); i.only != "" {
		args = append(args, "-P", i.only)
	}
	return args
}

func needStrace(t *testing.T) {
	t.Helper()
	if err := exec.Command("strace", "-e", "trace=none", "true").Run(); err != nil {
		t.Skipf("needs strace that may trace: %v", err)
	}
}

// TestSyscallFails lets the n-th system call of its kinds in each thread of the host and of its plugins fail, from the start
// of the process on; n grows from run to run. The host must live on once it was ready; before that it may end with a word.
// Then it is killed, which would lose what it acknowledged and did not store.
func TestSyscallFails(t *testing.T) {
	if *sweep == 0 {
		t.Skip("only with -sweep")
	}
	needStrace(t)
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.configure(c.loud())
	injected, refused, nth := 0, 0, [3]int{}
	for n := range *sweepFrom + *sweep {
		kind := [10]int{0, 0, 0, 1, aimed, 0, 1, 0, 0, 2}[n%10]
		if n < *sweepFrom {
			if kind != aimed {
				nth[kind] = nth[kind]%maxNth + 1
			}
			continue
		}
		c.drop(o, 2)
		long := time.Duration(random.Int64N(int64(longestRun)))
		if kind == aimed {
			injected += c.meetInSegment(&storing[1][random.IntN(2)], long)
			continue
		}
		nth[kind] = nth[kind]%maxNth + 1
		i := injection{nth: nth[kind]}
		for _, either := range [][][]trouble{storing, opening, sinking}[kind] {
			i.troubles = append(i.troubles, either[random.IntN(len(either))])
		}
		if kind == 2 {
			i.only = c.newestLines()
		}
		trace := c.path("trace")
		c.wrap = append([]string{"strace"}, i.args(trace)...)
		if !c.meet(&i, long) {
			refused++
		}
		injected += faultsIn(t, trace)
		c.wrap = nil
		os.Remove(trace)
	}
	told := c.account(o)
	if injected == 0 || told == 0 {
		t.Fatalf("%d calls failed, %d records were told", injected, told)
	}
	t.Logf("%d runs, up to call %d of what stores, %d of what opens, %d of the file sink: %d failed, %d starts refused with a word; %d records of the witness, %d files, none lost",
		*sweep, nth[0], nth[1], nth[2], injected, refused, told, len(o.share))
}

// maxNth is after which call of a thread the runs begin anew: few threads have more in the time that a run takes.
const maxNth = 100

// meet runs the host into the fault, for a while after its ready line, and kills it. It is false when the host ended
// before it was ready, which must not be a crash.
func (c *clinic) meet(i *injection, long time.Duration) bool {
	c.t.Helper()
	c.launch()
	defer c.kill()
	select {
	case <-c.ready:
	case <-c.ended:
		text, err := os.ReadFile(c.path("hostd.out"))
		if err != nil || bytes.Contains(text, []byte("panic:")) || bytes.Contains(text, []byte("fatal error:")) {
			c.t.Fatalf("%s: the host crashed at its start: %v", i, errors.Join(err, c.err))
		}
		return false
	case <-time.After(*patience):
		c.t.Fatalf("%s: the host did not get ready", i)
	}
	select {
	case <-c.ended:
		c.t.Fatalf("%s: the host ended: %v", i, c.err)
	case <-time.After(long): // the instant of the kill is what is random
	}
	return true
}

// aimed is a run that has its place, beside the kinds that are a number of calls.
const aimed = -1

// meetInSegment lets the next write of each thread to the newest segment fail in a host that runs, waits until intake has gone
// on behind it, and kills the host. It gives how many calls failed.
func (c *clinic) meetInSegment(f *trouble, long time.Duration) (injected int) {
	c.t.Helper()
	c.configure(oneSegment(c.loud()))
	defer c.configure(c.loud())
	c.start()
	defer c.kill()
	before := c.told(c.t)
	c.eventually("intake goes on", *patience, func() bool { return c.told(c.t) > before+100 })
	segments, err := filepath.Glob(filepath.Join(c.data, "spool", "*.seg"))
	if err != nil || len(segments) == 0 {
		c.t.Fatalf("there is no segment: %v", err)
	}
	trace := c.path("trace-segment")
	args := append(f.args(trace, "1"), "-P", segments[len(segments)-1], "-p", fmt.Sprint(c.cmd.Process.Pid))
	cmd := exec.CommandContext(c.t.Context(), "strace", args...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.eventually(f.String()+": a write to the segment fails", *patience, func() bool { return faultsIn(c.t, trace) > 0 || !c.alive() })
	before = c.told(c.t)
	c.eventually(f.String()+": intake goes on", *patience, func() bool { return c.told(c.t) > before+100 || !c.alive() })
	if !c.alive() {
		c.t.Fatalf("%s: the host ended: %v", f, c.err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	cmd.Wait()       // strace's exit code says nothing of the host
	time.Sleep(long) // the instant of the kill is what is random
	injected = faultsIn(c.t, trace)
	os.Remove(trace)
	return injected
}

// oneSegment is the flow with a segment that takes it all.
func oneSegment(flow string) string {
	return strings.Replace(flow, "segment_size_mb: 1", "segment_size_mb: 64", 1)
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
	for i := range heldTroubles[:min(*held, len(heldTroubles))] {
		f := &heldTroubles[i]
		c.configure(c.loud())
		if f.stops { // a new segment would be refused for its folder's sake, and hide what the old one does
			c.configure(oneSegment(c.loud()))
		}
		c.drop(o, 5)
		c.start()
		before := c.told(t)
		c.eventually("intake goes on", *patience, func() bool { return c.told(t) > before+100 })
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
	c.eventually(f.String()+": a call fails", *patience, func() bool { return faultsIn(c.t, trace) > 0 || !c.alive() })
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
	c.eventually(f.String()+": the host goes on", *patience, func() bool { return !c.alive() || c.told(c.t) > last })
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
	c.eventually(f.String()+": the devices are refused", *patience, func() bool {
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
