package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkCachedQuery is a query that the host answers from its cache, asked by a sink's process, beside an empty call
// over the same connection, in turns of 200. The ratio is the median of those of the turns.
func BenchmarkCachedQuery(b *testing.B) {
	program(b)
	parent := workDir(b)
	var empty, cached, ratios []float64
	for b.Loop() {
		for _, t := range callTimes(b, inside(b, parent)) {
			empty, cached, ratios = append(empty, t[0]), append(cached, t[1]), append(ratios, t[1]/t[0])
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(empty)/1e3, "empty-us")
	b.ReportMetric(median(cached)/1e3, "cached-us")
	b.ReportMetric(median(ratios), "ratio")
	b.Logf("load %s", loadavg(b))
}

// callTimes runs a host with the asker, and gives what it measured: nanoseconds of an empty call and of a cached query.
func callTimes(b *testing.B, dir string) (turns [][2]float64) {
	b.Helper()
	h := start(b, dir, `
devices: [{name: ping, plugin: probe, settings: {count: 1}}]
sinks: [{name: calls, plugin: asker}]
`)
	list := filepath.Join(dir, "data", "state", "sinks", "calls", "calls.txt")
	h.until("list of times", time.Second, time.Minute, func() bool {
		_, err := os.Stat(list)
		return err == nil
	})
	text, err := os.ReadFile(list)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var t [2]float64
		if _, err := fmt.Sscan(line, &t[0], &t[1]); err != nil {
			b.Fatal(err)
		}
		turns = append(turns, t)
	}
	h.stop()
	return turns
}
