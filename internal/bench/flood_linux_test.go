package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkFlood is the time of a single record to its acknowledgement beside a device that sends as fast as the host takes it,
// and without one, turn by turn on the same machine. The ratios of the p50 and p99 of all turns are the figures. "paced" is a
// device of 5,000 records a second, which leaves the machine room: what it adds is the host's doing, not the processor's.
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct {
		name string
		rate int
	}{{"paced", 5000}, {"all", 0}} {
		b.Run(c.name, func(b *testing.B) { benchFlood(b, c.rate) })
	}
}

func benchFlood(b *testing.B, rate int) {
	program(b)
	parent := workDir(b)
	var alone, beside []time.Duration
	for b.Loop() {
		alone = append(alone, ackTimes(b, inside(b, parent), *pings)...)
		h := startProbe(b, inside(b, parent), *pings, fmt.Sprintf("  - {name: flood, plugin: generator, settings: {rate: %d, size: 1024}}", rate))
		beside = append(beside, h.probed(*pings)...)
		h.stop()
	}
	slices.Sort(alone)
	slices.Sort(beside)
	reportRatios(b, "ms", beside, "alone-ms", alone)
	b.Logf("load %s", loadavg(b))
}

// reportRatios compares sorted times with sorted ones of a reference, whose metrics have these names behind that of the quantile.
func reportRatios(b *testing.B, name string, times []time.Duration, other string, reference []time.Duration) {
	b.Helper()
	for _, q := range []struct {
		name string
		part float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		t, r := quantile(times, q.part), quantile(reference, q.part)
		b.ReportMetric(millis(t), q.name+"-"+name)
		b.ReportMetric(millis(r), q.name+"-"+other)
		b.ReportMetric(float64(t)/float64(r), q.name+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}
