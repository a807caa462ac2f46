package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	pingEvery = 20 * time.Millisecond
	pingDelay = 2 * time.Second
	pageSize  = 4 << 10
)

// BenchmarkAckLatency is the time of a single record from the return of the plugin's Read to its Ack, at a host that has
// nothing else to do, beside the time that the same disk needs for one synced append: half of those are measured before
// the records, half after them, at the same pace.
func BenchmarkAckLatency(b *testing.B) {
	program(b)
	parent := workDir(b)
	for b.Loop() {
		disk := syncs(b, parent, *pings)
		acks := ackTimes(b, inside(b, parent), *pings)
		disk = append(disk, syncs(b, parent, *pings)...)
		slices.Sort(disk)
		slices.Sort(acks)
		reportRatios(b, "ack-ms", acks, "fdatasync-ms", disk)
	}
	b.Logf("load %s", loadavg(b))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// syncs appends a page n times, and syncs each.
func syncs(b *testing.B, dir string, n int) (times []time.Duration) {
	b.Helper()
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, pageSize)
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for range n {
		<-tick.C
		from := time.Now()
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(from))
	}
	return times
}

// ackTimes runs a host with the probe and a file sink, and gives what the probe measured.
func ackTimes(b *testing.B, dir string, n int) (times []time.Duration) {
	b.Helper()
	h := startProbe(b, dir, n, "")
	times = h.probed(n)
	var got *tally
	h.until("lines of all records", look, stopWait, func() (done bool) {
		var err error
		if got, err = count(filepath.Join(dir, "out")); err != nil {
			b.Fatal(err)
		}
		return got.lines >= n
	})
	if err := got.exact(n); err != nil {
		b.Fatal(err)
	}
	h.stop()
	return times
}

// startProbe runs a host with the probe, a file sink, and what more there is in its configuration.
func startProbe(b *testing.B, dir string, n int, more string) *running {
	b.Helper()
	h := start(b, dir, fmt.Sprintf(`
devices:
  - {name: ping, plugin: probe, settings: {count: %d, size: 1024, every: %s, delay: %s}}
%s
sinks:
  - {name: lines, plugin: file, settings: {dir: %q}}
`, n, pingEvery, pingDelay, more, filepath.Join(dir, "out")))
	h.awaitReady()
	return h
}

// probed waits for what the probe has measured.
func (h *running) probed(n int) (times []time.Duration) {
	h.b.Helper()
	list := filepath.Join(h.dir, "data", "state", "devices", "ping", "latencies.txt")
	h.until("list of times", time.Second, pingDelay+time.Duration(n)*time.Second, func() bool {
		_, err := os.Stat(list)
		return err == nil
	})
	text, err := os.ReadFile(list)
	if err != nil {
		h.b.Fatal(err)
	}
	for _, line := range strings.Fields(string(text)) {
		ns, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			h.b.Fatal(err)
		}
		times = append(times, time.Duration(ns))
	}
	if len(times) != n {
		h.b.Fatalf("%d times, want %d", len(times), n)
	}
	return times
}
