package main_test

import (
	"flag"
	"fmt"
	"testing"
)

var reloads = flag.Int("reloads", 5, "how many in TestReloads")

// TestReloads reloads again and again under load: each time something else comes, goes or changes. A device that is never named has
// every record at the sink once and in order, and is never started anew; so has one that is, but for its starts.
func TestReloads(t *testing.T) {
	t.Parallel()
	flow := func(i int) string {
		devices := "devices:\n  - {name: steady, plugin: generator, settings: {rate: 1000, size: 400}}\n"
		sinks := "sinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\n"
		if i%3 != 1 {
			devices += fmt.Sprintf("  - {name: busy, plugin: generator, settings: {rate: %d, size: 400}}\n", 500+i%7)
		}
		if i%4 > 1 {
			sinks += "  - {name: side, plugin: file, settings: {dir: side}}\n"
		}
		return devices + sinks + fmt.Sprintf("routes:\n  - {from: 'bus%.*s*', to: [archive]}\n  - {to: [archive]}\nworkers: {size: %d, queue: %d}\n", i%2, "y", 1+i%8, 1+i*7%40) +
			fmt.Sprintf("cache: {capacity: %d}\ndatabase: {pool: {max_open: %d, monitor: {enabled: %t, interval: %ds}}}\nspool: {keep: %dh}\n", 100+i%5, 2+i%6, i%2 == 0, 1+i%9, 1+i%3)
	}
	c := newClinic(t, flow(0))
	c.start()
	c.until("all deliver", func(s status) bool { return device(s, "busy").Records > 0 && sink(s, "archive").Delivered > 0 })
	for i := 1; i <= *reloads; i++ {
		c.configured(flow(i))
		c.reloaded("workers.size")
		at := device(c.status(), "steady").Records
		c.until("the one that is not named goes on", func(s status) bool { return device(s, "steady").Records > at })
	}
	if n, restarts := c.ups("device", "steady"), device(c.status(), "steady").Restarts; n != 1 || restarts != 0 {
		t.Errorf("the device that was not named came up %d times, its process was restarted %d times", n, restarts)
	}
	c.configured("devices:\n  - {name: steady, plugin: generator, settings: {count: 1}}\n  - {name: busy, plugin: generator, settings: {count: 1}}\n" +
		"sinks:\n  - {name: archive, plugin: file, settings: {dir: archive}}\n")
	c.reloaded("steady")
	s := c.until("all that came is delivered", func(s status) bool {
		return device(s, "steady").State == "up" && device(s, "busy").State == "up" && sink(s, "archive").Backlog == 0
	})
	c.stop()
	for _, name := range []string{"steady", "busy"} {
		c.whole("archive", name, 1)
		if got, want := len(c.numbers("archive", name)), int(device(s, name).Records); got != want {
			t.Errorf("%s: %d records of %d", name, got, want)
		}
	}
}
