package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	devices = 12 // of a clinic that is neither small nor large
	starts  = 5
)

// clinic is a configuration of watched folders in which nothing happens, and both shipped sinks.
func clinic(b *testing.B, dir string) string {
	b.Helper()
	var text strings.Builder
	text.WriteString("devices:\n")
	for i := range devices {
		in := filepath.Join(dir, "in", fmt.Sprint(i))
		if err := os.MkdirAll(in, 0o755); err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&text, "  - {name: folder-%d, plugin: folder, schedule: {every: 2s}, settings: {dir: %q}}\n", i, in)
	}
	fmt.Fprintf(&text, "sinks: [{name: emr, plugin: sql}, {name: lines, plugin: file, settings: {dir: %q}}]\n", filepath.Join(dir, "out"))
	return text.String()
}

// BenchmarkAtRest is the memory and the work of a host with a clinic's devices, of which none has anything to say.
func BenchmarkAtRest(b *testing.B) {
	program(b)
	parent := workDir(b)
	for b.Loop() {
		dir := inside(b, parent)
		h := start(b, dir, clinic(b, dir))
		h.awaitReady()
		before, from := cpuOf(h.family()), time.Now()
		h.until("end of the rest", *rest, *rest*2, func() bool { return time.Since(from) >= *rest })
		list := h.family()
		if len(list) != 1+devices+2 {
			b.Fatalf("%d processes: %+v\n%s", len(list), list, h.words())
		}
		b.ReportMetric(100*(cpuOf(list)-before)/time.Since(from).Seconds(), "cpu-%")
		all := 0.0
		highest := map[string]float64{}
		for _, u := range list {
			highest[u.name] = max(highest[u.name], u.rss)
			all += u.pss
		}
		for name, mb := range highest {
			b.ReportMetric(mb, "rss-MB:"+name)
		}
		b.ReportMetric(all, "pss-MB:all")
		h.stop()
	}
	b.ReportMetric(0, "ns/op")
	b.Logf("load %s", loadavg(b))
}

func cpuOf(list []usage) (s float64) {
	for _, u := range list {
		s += u.cpu
	}
	return s
}

// BenchmarkStart is the time from the start of hostd to its line with ready: the spool is open, and each of a clinic's
// devices was tried.
func BenchmarkStart(b *testing.B) {
	program(b)
	parent := workDir(b)
	var times []time.Duration
	for b.Loop() {
		for range starts {
			dir := inside(b, parent)
			h := start(b, dir, clinic(b, dir))
			times = append(times, h.awaitReady())
			h.stop()
		}
	}
	slices.Sort(times)
	b.ReportMetric(millis(quantile(times, 0.5)), "p50-ms")
	b.ReportMetric(millis(times[len(times)-1]), "max-ms")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d starts, load %s", len(times), loadavg(b))
}
