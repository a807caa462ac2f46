package faults

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var orphans = flag.Int("orphans", 2, "of TestOrphans: how often the host is killed; and a quarter as often with each belt alone")

const (
	manyOrphans = 100             // of which each must meet the goal, not the median
	orphanGoal  = 2 * time.Second // from the kill of the host to the end of its last plugin
	orphanSlow  = 10 * time.Second
)

// TestOrphans kills the host with SIGKILL at random instants of its life: two seconds later no plugin may be there, by
// either of two belts alone. The end of the standard input, which the kernel brings and the plugin hears; and the signal at
// the end of the parent, which the kernel brings to a plugin that hears nothing. The next start leaves no socket of the last
// life. A few kills hold the median, with room for a machine that has other work.
func TestOrphans(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks real processes for some seconds")
	}
	t.Parallel()
	for _, c := range []struct{ name, broken string }{{"both", *mutant}, {"input", "parent-signal-off"}, {"signal", "input-held-open"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switch {
			case c.broken == *mutant:
				orphan(t, *orphans, "", *mutant)
			case *mutant != "":
				t.Skip("a mutant has one belt or the other off")
			default:
				orphan(t, (*orphans+3)/4, breakableHost(t), c.broken)
			}
		})
	}
}

// orphan kills the host n times.
func orphan(t *testing.T, n int, host, broken string) {
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	c.flow, c.broken = c.crowded, broken
	if host != "" {
		c.host = host
	}
	c.configure(c.flow())
	var took []time.Duration
	for cycle := range n {
		c.drop(o, 2)
		if cycle%4 == 3 {
			c.launch() // the kill meets plugins that start
		} else {
			c.start()
			c.noStaleSocket()
			c.until("every plugin is up", (*status).up)
			// The host has looked at the plugins that nobody uses, too, in processes that have ended by then.
			c.eventually("the host with a process of each plugin", *patience, func() bool { return len(c.family()) == 1+len(units)+1 })
		}
		time.Sleep(time.Duration(random.Int64N(int64(longestRun)))) // the instant of the kill is what is random
		killed := time.Now()
		c.kill()
		c.eventually("the end of the last plugin", orphanSlow, func() bool { return len(c.family()) == 0 })
		took = append(took, time.Since(killed))
	}
	told := c.account(o)
	if left := c.sockets(); len(left) > 0 {
		t.Errorf("the host has ended by itself and left sockets: %v", left)
	}
	p50, most := quantile(took, 0.5), quantile(took, 1)
	t.Logf("host killed %d times: its last plugin was gone after p50 %s, at most %s; %d records of the witness, none lost", n, p50, most, told)
	if p50 > orphanGoal || *orphans >= manyOrphans && most > orphanGoal {
		t.Errorf("plugins outlive their host by p50 %s, at most %s; the goal is %s", p50, most, orphanGoal)
	}
}

// family are the host and everything that it has started, by the temporary folder in their environment, which is the clinic's
// own. A process that has ended and is not reaped has none.
func (c *clinic) family() (pids []int) {
	c.t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, path := range list {
		env, err := os.ReadFile(path)
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(kv []byte) bool { return string(kv) == "TMPDIR="+c.temp }) {
			continue // it ended meanwhile, or is nothing of ours
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// noStaleSocket wants that each socket is one at which a process listens. One that comes or goes at this moment may be without.
func (c *clinic) noStaleSocket() {
	c.t.Helper()
	var stale []string
	for end := time.Now().Add(orphanGoal); time.Now().Before(end); time.Sleep(look) {
		text, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			c.t.Fatal(err)
		}
		stale = slices.DeleteFunc(c.sockets(), func(path string) bool { return strings.Contains(string(text), " "+path+"\n") })
		if len(stale) == 0 {
			return
		}
	}
	c.t.Fatalf("stale sockets after the start: %v", stale)
}

// sockets are all in the temporary folder of the host and its plugins.
func (c *clinic) sockets() (list []string) {
	c.t.Helper()
	err := filepath.WalkDir(c.temp, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type()&fs.ModeSocket != 0 {
			list = append(list, path)
		}
		if os.IsNotExist(err) {
			return nil // it went meanwhile
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}
