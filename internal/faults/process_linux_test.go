package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gauges are what a process holds, by its own metrics.
type gauges struct {
	goroutines, files float64
	memory            float64 // bytes, resident
}

func (g gauges) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f open files, %.1f MB", g.goroutines, g.files, g.memory/1e6)
}

// gauges asks the host once.
func (c *clinic) gauges() (g gauges, err error) {
	body, err := c.ask("/metrics")
	if err != nil {
		return g, err
	}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := map[string]*float64{
			"go_goroutines": &g.goroutines, "process_open_fds": &g.files, "process_resident_memory_bytes": &g.memory,
		}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return g, err
		}
	}
	if g.goroutines == 0 || g.files == 0 || g.memory == 0 {
		return g, fmt.Errorf("metrics lack one of three: %s", g)
	}
	return g, nil
}

// samples of atRest. A look at the metrics runs goroutines of its own, one more or two fewer at the instant of the count,
// and a poll opens a folder: what is seen most often is what the host holds.
const samples = 21

// atRest gives what the host holds: the number of goroutines and files that is seen most often, and the median of memory.
func (c *clinic) atRest() gauges {
	c.t.Helper()
	var list []gauges
	for range samples {
		g, err := c.gauges()
		if err != nil {
			c.t.Fatal(err)
		}
		list = append(list, g)
		time.Sleep(look)
	}
	return gauges{usual(list, goroutines), usual(list, files), median(list, memory)}
}

func goroutines(g gauges) float64 { return g.goroutines }
func files(g gauges) float64      { return g.files }
func memory(g gauges) float64     { return g.memory }

// usual is the value that is there most often, the smaller of two.
func usual(list []gauges, of func(gauges) float64) (most float64) {
	times := map[float64]int{}
	for _, g := range list {
		times[of(g)]++
	}
	for value, n := range times {
		if n > times[most] || n == times[most] && value < most {
			most = value
		}
	}
	return most
}

func median(list []gauges, of func(gauges) float64) float64 {
	var values []float64
	for _, g := range list {
		values = append(values, of(g))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// comesDownTo waits until the host holds no goroutine and no file more than before, and gives what it holds. Where it does
// not, its goroutines are in what it says last.
func (c *clinic) comesDownTo(before gauges, what string) (now gauges) {
	c.t.Helper()
	for end := time.Now().Add(*patience); time.Now().Before(end); {
		now = c.atRest()
		if now.goroutines <= before.goroutines && now.files <= before.files {
			return now
		}
	}
	if err := c.cmd.Process.Signal(syscall.SIGQUIT); err == nil { // Go prints the stacks, and ends
		<-c.ended
	}
	stacks, err := os.ReadFile(c.path("hostd.out"))
	at := max(0, bytes.LastIndex(stacks, []byte("SIGQUIT")))
	c.t.Fatalf("%s left something: %s before, %s for %s now (%v)\n%s", what, before, now, *patience, err, grouped(stacks[at:]))
	return now
}

// grouped says of a dump of goroutines how often each was started where.
func grouped(dump []byte) string {
	times := map[string]int{}
	for line := range strings.Lines(string(dump)) {
		if by, ok := strings.CutPrefix(line, "created by "); ok {
			by, _, _ = strings.Cut(by, " in goroutine ")
			times[strings.TrimSpace(by)]++
		}
	}
	var text strings.Builder
	for _, by := range slices.Sorted(maps.Keys(times)) {
		fmt.Fprintf(&text, "%4d %s\n", times[by], by)
	}
	return text.String()
}

// introduced waits until the host knows every plugin of its folder. At its first start it asks those that nobody uses what they are,
// beside its work: what it holds meanwhile it does not hold later.
func (c *clinic) introduced() {
	c.t.Helper()
	entries, err := os.ReadDir(c.bin)
	if err != nil {
		c.t.Fatal(err)
	}
	c.eventually("every plugin is known", *patience, func() bool {
		var store struct {
			Plugins map[string]struct {
				Current *struct{}
				Seen    *struct{ Idle *struct{} }
			}
		}
		text, err := os.ReadFile(filepath.Join(c.data, "plugins", "store.json"))
		if err != nil || json.Unmarshal(text, &store) != nil {
			return false // it is being replaced
		}
		return !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			p := store.Plugins[e.Name()]
			return p.Current == nil && (p.Seen == nil || p.Seen.Idle == nil) && e.Type().IsRegular() &&
				!strings.HasPrefix(e.Name(), "hostd") && !strings.Contains(e.Name(), ".")
		})
	})
}

// plugins are the processes that the host has as children, by name.
func (c *clinic) plugins() map[string][]int {
	c.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		c.t.Fatal(err)
	}
	list := map[string][]int{}
	for _, s := range stats {
		text, err := os.ReadFile(s)
		if err != nil {
			continue // it ended meanwhile
		}
		// pid (name) state ppid ...; see proc(5)
		head, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if len(f) < 2 || f[1] != strconv.Itoa(c.cmd.Process.Pid) || f[0] == "Z" {
			continue
		}
		pid, name, _ := strings.Cut(head, " (")
		if n, err := strconv.Atoi(pid); err == nil {
			list[name] = append(list[name], n)
		}
	}
	return list
}

// plugin gives the process of the host's plugin of that name; 0 where there is none.
func (c *clinic) plugin(name string) int {
	c.t.Helper()
	if list := c.plugins()[name]; len(list) > 0 {
		return list[0]
	}
	return 0
}

// gone is true for a process that has ended, reaped or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// killPlugin kills a plugin and waits until the host has another one up.
func (c *clinic) killPlugin(name string) {
	c.t.Helper()
	pid := c.plugin(name)
	if pid == 0 {
		c.t.Fatalf("there is no process of plugin %s", name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("plugin "+name+" is started again", *patience, func() bool {
		now := c.plugin(name)
		return now != 0 && now != pid
	})
}
