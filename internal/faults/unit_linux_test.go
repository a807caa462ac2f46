package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// crowded is the flow for what happens to plugins: of two witnesses the calm one is left alone, and notes how long after it was
// due each of its records is safe.
const crowded = `
spool: {segment_size_mb: 1, keep: 1s, reserve_mb: 1}
devices:
  - {name: gen, plugin: generator, settings: {rate: 200, size: 400}}
  - {name: wit, plugin: witness, settings: {journal: "DIR/wit.journal", rate: 300, size: 600}}
  - {name: calm, plugin: witness, settings: {journal: "DIR/calm.journal", times: "DIR/calm.times", rate: 100, size: 600}}
  - {name: share, plugin: folder, schedule: {every: 200ms}, settings: {dir: in, format: joia, settle: 100ms}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
`

func (c *clinic) crowded() string { return strings.ReplaceAll(crowded, "DIR", c.dir) }

// unit is a device or a sink whose plugin something happens to.
type unit struct {
	name, program string
	sink          bool
}

// units are all of crowded but the calm one.
var units = []unit{{"wit", "witness", false}, {"gen", "generator", false}, {"share", "folder", false}, {"emr", "sql", true}, {"archive", "file", true}}

// state is what the status says of it; work counts records that are safe, or delivered.
func (u unit) state(s *status) (state string, restarts uint64, work int64) {
	if u.sink {
		k := s.sink(u.name)
		return k.State, k.Restarts, k.Delivered
	}
	d := s.device(u.name)
	return d.State, d.Restarts, d.Records
}

// process is the unit's own: that of a witness has its journal open.
func (c *clinic) process(u unit) int {
	c.t.Helper()
	for _, pid := range c.plugins()[u.program] {
		if u.program != "witness" || c.holds(pid, c.path(u.name+".journal")) {
			return pid
		}
	}
	c.t.Fatalf("there is no process of %s", u.name)
	return 0
}

func (c *clinic) holds(pid int, path string) bool {
	c.t.Helper()
	list, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(fd string) bool {
		to, err := os.Readlink(fd)
		return err == nil && to == path
	})
}

// blow is what happens to one unit, and what was seen of it afterwards: times count from the blow and are 0 until then.
type blow struct {
	unit unit
	pid  int
	at   time.Time

	restarts uint64 // before
	work     int64  // when it was up again

	noticed, gone time.Duration // the status says that it is not up; the process is no more
	up, working   time.Duration // its next process is; and has stored or delivered something
}

// strike sends a signal to a unit's process.
func (c *clinic) strike(u unit, pid int, signal syscall.Signal) *blow {
	c.t.Helper()
	s, err := c.status()
	if err != nil {
		c.t.Fatal(err)
	}
	b := &blow{unit: u, pid: pid, at: time.Now()}
	_, b.restarts, _ = u.state(&s)
	if err := syscall.Kill(pid, signal); err != nil {
		c.t.Fatal(err)
	}
	return b
}

// look takes what a status shows, and is true when the unit works again.
func (b *blow) look(s *status) bool {
	state, restarts, work := b.unit.state(s)
	since := time.Since(b.at)
	first := func(d *time.Duration, seen bool) {
		if *d == 0 && seen {
			*d = since
		}
	}
	if b.up == 0 {
		b.work = work
	}
	first(&b.gone, gone(b.pid))
	first(&b.noticed, state != "up" || restarts > b.restarts)
	first(&b.up, state == "up" && restarts > b.restarts)
	first(&b.working, b.up > 0 && work > b.work)
	return b.working > 0
}

// mended waits until all that was struck works again. Files are there for the device that reads them.
func (c *clinic) mended(o *oracle, list []*blow) {
	c.t.Helper()
	for _, b := range list {
		c.until(b.unit.name+" works again", func(s *status) bool {
			for _, other := range list {
				other.look(s)
			}
			if b.unit.name == "share" && b.up > 0 && len(c.names("in")) == 0 {
				c.drop(o, 1)
			}
			return b.working > 0
		})
	}
}

// busy starts the host on the crowded flow and waits until every unit has worked.
func (c *clinic) busy(o *oracle) {
	c.t.Helper()
	c.flow = c.crowded
	c.configure(c.flow())
	c.drop(o, 1)
	c.start()
	c.until("every unit works", func(s *status) bool {
		return !slices.ContainsFunc(units, func(u unit) bool {
			state, _, work := u.state(s)
			return state != "up" || work == 0
		})
	})
}

// some gives n of the units in random order.
func some(random *rand.Rand, from []unit, n int) (list []unit) {
	for _, i := range random.Perm(len(from))[:min(n, len(from))] {
		list = append(list, from[i])
	}
	return list
}

// quantile is the value that a share of the list is not above; 0 of an empty one.
func quantile(list []time.Duration, share float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[min(int(share*float64(len(list))), len(list)-1)]
}
