package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	flowWait = 10 * time.Minute
	quiet    = 500 * time.Millisecond // without a new byte, before the lines are counted

	diskBlock  = 1 << 20
	diskBlocks = 256
)

// flow is one round of BenchmarkFlow.
type flow struct {
	took    time.Duration // from the first record to the last line
	intake  time.Duration // from the first record to the last one on the host's disk
	family  []usage
	others  float64
	loadavg string
}

// BenchmarkFlow is the whole way of 1 KiB records as fast as they go: generator, fsync, acknowledgement, file sink.
// Every record is counted in the sink's files.
func BenchmarkFlow(b *testing.B) {
	program(b)
	parent := workDir(b)
	var all []flow
	for b.Loop() {
		disk := diskRate(b, parent)
		f := runFlow(b, inside(b, parent), "")
		b.Logf("%d records in %.2f s, others %.0f %% of the machine, disk %.0f MB/s, load %s",
			*records, f.took.Seconds(), f.others, disk, f.loadavg)
		all = append(all, f)
	}
	rounds := float64(len(all))
	b.ReportMetric(0, "ns/op")
	add := map[string]float64{}
	for _, f := range all {
		add["records/s"] += float64(*records) / f.took.Seconds() / rounds
		add["intake-records/s"] += float64(*records) / f.intake.Seconds() / rounds
		add["others-cpu-%"] += f.others / rounds
		for _, u := range f.family {
			perMillion := u.cpu * 1e6 / float64(*records) / rounds
			add["cpu-s/M"] += perMillion
			add["cpu-s/M:"+u.name] += perMillion
			add["peak-MB:"+u.name] = max(add["peak-MB:"+u.name], u.peak)
		}
	}
	for unit, v := range add {
		b.ReportMetric(v, unit)
	}
}

// BenchmarkSealing is the flow with a sealed spool beside the flow with a plain one, turn by turn in the same minutes. The
// ratios, sealed to plain, are medians of those of neighbouring turns, since a machine's rate drifts.
func BenchmarkSealing(b *testing.B) {
	program(b)
	parent := workDir(b)
	key := filepath.Join(parent, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("5c", 32)), 0o600); err != nil {
		b.Fatal(err)
	}
	defer os.Remove(key)
	sealing := fmt.Sprintf("\nspool: {seal: true, key: \"${file:%s}\"}", key)
	var rates, costs []float64
	before, sealed := costOfFlow(b, parent, ""), true
	for b.Loop() {
		more := ""
		if sealed {
			more = sealing
		}
		now := costOfFlow(b, parent, more)
		up, down := now, before
		if !sealed {
			up, down = before, now
		}
		rates, costs = append(rates, up.rate/down.rate), append(costs, up.cpu/down.cpu)
		before, sealed = now, !sealed
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates), "rate-ratio")
	b.ReportMetric(median(costs), "cpu-ratio")
}

// turn is what one flow came to: records/s, and CPU seconds per million.
type turn struct{ rate, cpu float64 }

func costOfFlow(b *testing.B, parent, more string) (t turn) {
	b.Helper()
	f := runFlow(b, inside(b, parent), more)
	t.rate = float64(*records) / f.took.Seconds()
	for _, u := range f.family {
		t.cpu += u.cpu * 1e6 / float64(*records)
	}
	b.Logf("sealed %t: %.0f records/s, %.2f CPU s/M, others %.0f %% of the machine", more != "", t.rate, t.cpu, f.others)
	return t
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// diskRate is what the disk takes by itself: blocks appended, each synced, in MB/s.
func diskRate(b *testing.B, dir string) float64 {
	b.Helper()
	f, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, diskBlock)
	from := time.Now()
	for range diskBlocks {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return diskBlock * diskBlocks / 1e6 / time.Since(from).Seconds()
}

// runFlow is one round in dir; more is added to the host's configuration.
func runFlow(b *testing.B, dir, more string) (f flow) {
	b.Helper()
	out := filepath.Join(dir, "out")
	before := machineNow(b)
	h := start(b, dir, more+fmt.Sprintf(`
devices: [{name: gen, plugin: generator, settings: {count: %d, rate: 0, size: 1024}}]
sinks: [{name: lines, plugin: file, settings: {dir: %q}}]
`, *records, out))
	var got *tally
	var end time.Time
	h.until("all lines", look, flowWait, func() bool {
		var size int64
		size, end = grown(h, out)
		if size < shortest(b, out)*int64(*records) {
			return false // it paused
		}
		f.family = h.family()
		var err error
		if got, err = count(out); err != nil {
			b.Fatal(err)
		}
		return got.lines >= *records
	})
	if err := got.exact(*records); err != nil {
		b.Fatalf("records are lost or doubled: %v\n%s", err, h.words())
	}
	hostd := 0.0
	for _, u := range f.family {
		hostd += u.cpu
	}
	f.others, f.loadavg = before.others(b, hostd), loadavg(b)
	f.took, f.intake = end.Sub(got.first), got.newest.Sub(got.first)
	h.stop()
	return f
}

// grown waits until the sink's files stop growing, and gives their size and when it was seen first.
func grown(h *running, out string) (size int64, at time.Time) {
	at = time.Now()
	h.until("end of growing", look, flowWait, func() bool {
		now := sizeOf(h.b, out)
		if now != size || now == 0 {
			size, at = now, time.Now()
		}
		return time.Since(at) >= quiet
	})
	return size, at
}

func lineFiles(b *testing.B, dir string) []string {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		b.Fatal(err)
	}
	return names
}

func sizeOf(b *testing.B, dir string) (size int64) {
	b.Helper()
	for _, n := range lineFiles(b, dir) {
		info, err := os.Stat(n)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// shortest is the length of the first line: its numbers have the fewest digits.
func shortest(b *testing.B, dir string) int64 {
	b.Helper()
	f, err := os.Open(lineFiles(b, dir)[0])
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadSlice('\n')
	if err != nil {
		b.Fatal(err)
	}
	return int64(len(line))
}
