package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tickRate is USER_HZ, the unit of times in /proc, which is 100 on every platform of Go.
const tickRate = 100

const kilobyte = 1 << 10

// calmFor is how long a host must do next to nothing to be calm.
const calmFor = 300 * time.Millisecond

// usage is what the kernel says of a process.
type usage struct {
	name string // of the binary
	cpu  float64
	rss  float64 // MB (10^6) now
	peak float64 // MB, the highest rss there was
	pss  float64 // MB, shared pages divided among those who share them
}

// family is the usage of hostd and of its plugins, by the names of their binaries.
func (h *running) family() (list []usage) {
	h.b.Helper()
	list = append(list, h.usage(h.cmd.Process.Pid))
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		h.b.Fatal(err)
	}
	for _, s := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if f, err := statFields(pid); err == nil && f[1] == strconv.Itoa(h.cmd.Process.Pid) {
			list = append(list, h.usage(pid))
		}
	}
	return list
}

// calm waits until the start is over: the plugins that nobody uses were asked what they are, and nothing happens any more.
func (h *running) calm() {
	h.b.Helper()
	before := -1.0
	h.until("end of the start", calmFor, readyWait, func() bool {
		now := 0.0
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			h.b.Fatal(err)
		}
		for _, s := range stats {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			f, err := statFields(pid)
			if err == nil && (pid == h.cmd.Process.Pid || f[1] == strconv.Itoa(h.cmd.Process.Pid)) {
				now += seconds(f[11]) + seconds(f[12])
			}
		}
		spent := now - before
		before = now
		return spent >= 0 && spent < calmFor.Seconds()/20
	})
}

// statFields are the fields of /proc/PID/stat from the third on: state, ppid ...; see proc(5).
func statFields(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), nil
}

func (h *running) usage(pid int) usage {
	h.b.Helper()
	f, err := statFields(pid)
	if err != nil {
		h.b.Fatal(err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		h.b.Fatal(err)
	}
	status := kilobytes(h.b, fmt.Sprintf("/proc/%d/status", pid))
	rollup := kilobytes(h.b, fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	return usage{
		name: filepath.Base(exe), cpu: seconds(f[11]) + seconds(f[12]),
		rss: status["VmRSS"], peak: status["VmHWM"], pss: rollup["Pss"],
	}
}

func seconds(ticks string) float64 {
	n, _ := strconv.ParseFloat(ticks, 64)
	return n / tickRate
}

// kilobytes reads the lines "Name: 123 kB" of a file, and gives MB.
func kilobytes(b *testing.B, path string) map[string]float64 {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if n, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB"); ok {
			v, err := strconv.ParseFloat(n, 64)
			if err != nil {
				b.Fatal(err)
			}
			values[name] = v * kilobyte / 1e6
		}
	}
	return values
}

// machine is the whole machine's work at one moment.
type machine struct {
	at   time.Time
	busy float64 // seconds of all CPUs
	own  float64 // of them, of this process
}

func machineNow(b *testing.B) machine {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	m := machine{at: time.Now()}
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal
		m.busy += seconds(f[i])
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	m.own = time.Duration(own.Utime.Nano() + own.Stime.Nano()).Seconds()
	return m
}

// others is the part of the machine's time since then, in percent, that went to neither hostd nor this process: the
// kernel's own writing and everybody else.
func (m machine) others(b *testing.B, hostd float64) float64 {
	now := machineNow(b)
	all := now.at.Sub(m.at).Seconds() * float64(runtime.NumCPU())
	return 100 * max(0, now.busy-m.busy-(now.own-m.own)-hostd) / all
}

// loadavg is the load of the last 1, 5 and 15 minutes.
func loadavg(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// File systems by the magic numbers of statfs(2).
var fileSystems = map[int64]string{
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x2fc12fc1: "zfs", 0x794c7630: "overlay",
	0x01021994: "tmpfs", 0x858458f6: "ramfs",
}

func fileSystem(dir string) (string, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "", err
	}
	if name, ok := fileSystems[int64(s.Type)]; ok { //nolint:unconvert // an int32 on some platforms
		return name, nil
	}
	return fmt.Sprintf("%#x", s.Type), nil
}

// workDir is an empty folder on a real disk. It prints where it stands and what the machine is.
func workDir(b *testing.B) string {
	b.Helper()
	parent := b.TempDir()
	fs, err := fileSystem(parent)
	if err == nil && *onDisk == "" && (fs == "tmpfs" || fs == "ramfs") {
		*onDisk = filepath.Join(root, "bin")
	}
	if *onDisk != "" {
		parent = besideModule(b, *onDisk)
		fs, err = fileSystem(parent)
	}
	if err != nil {
		b.Fatal(err)
	}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		b.Fatal(err)
	}
	release := make([]byte, 0, len(u.Release))
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	b.Logf("%d CPUs, kernel %s, %s, load %s", runtime.NumCPU(), release, fs, loadavg(b))
	return parent
}

// besideModule makes a folder below dir that goes away with the benchmark.
func besideModule(b *testing.B, dir string) string {
	b.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	made, err := os.MkdirTemp(dir, "bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(made) })
	made, err = filepath.Abs(made)
	if err != nil {
		b.Fatal(err)
	}
	return made
}

// inside makes an empty folder for one round.
func inside(b *testing.B, parent string) string {
	b.Helper()
	dir, err := os.MkdirTemp(parent, "round-")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}
