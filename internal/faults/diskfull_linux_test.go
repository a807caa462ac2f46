package faults

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	fills    = flag.Int("fills", 0, "0 skips it; of TestDiskFull: how often the disk is filled, on tmpfs; where it is more than once on ext4 too, and half as often under instruments")
	holdFull = flag.Duration("hold", time.Second, "of TestDiskFull: how long the disk is full, while nothing may be acknowledged")
)

const (
	smallDisk = 192 << 20              // more than half of it is for the copies of the plugins
	inFlight  = 500 * time.Millisecond // after which nothing that had room is still on its way to the journal
	slack     = 10                     // records that may find room in the page which the newest segment has begun
	fewMore   = 5000                   // records that may be told until the fault is everywhere

	resumeGoal = 5 * time.Second // from the ballast's removal to the next acknowledgement
)

// needRoot skips where file systems cannot be mounted.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
}

// TestDiskFull fills the disk under data_dir while devices send. Nothing is acknowledged, the state says why, the files of
// the folder stay where they are; when there is room again the same process goes on within seconds, and nothing is lost.
func TestDiskFull(t *testing.T) {
	if *fills == 0 {
		t.Skip("only with -fills")
	}
	needRoot(t)
	t.Parallel()
	kinds := []string{"tmpfs", "ext4"}
	if *fills == 1 {
		kinds = kinds[:1] // for a taste
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			random := seeded(t)
			t.Parallel()
			c, o := newClinic(t), newOracle()
			mountSmall(t, kind, c.data)
			c.configure(c.loud())
			c.start()
			pid := c.cmd.Process.Pid
			for n := range *fills {
				c.drop(o, 5)
				c.eventually("intake goes on", *patience, func() bool { return c.told(t) > int64(n*500+100) })
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // the instant of the fault is what is random
				took := c.fillOnce(t, o)
				t.Logf("fill %d: %d records told, intake is back %s after the ballast is gone", n+1, c.told(t), took)
				if took > resumeGoal {
					t.Errorf("intake is back after %s, the goal is %s", took, resumeGoal)
				}
			}
			if !c.alive() || c.cmd.Process.Pid != pid {
				t.Error("the host is not the one that met the full disk")
			}
			c.stop()
			told := c.account(o)
			t.Logf("%d records of the witness, %d files, none lost", told, len(o.share))
		})
	}
	if *fills > 1 {
		t.Run("instruments", instrumentsMeetFullDisk)
	}
}

// fillOnce fills the disk under the flow, and gives the time from its end to the next acknowledgement.
func (c *clinic) fillOnce(t *testing.T, o *oracle) time.Duration {
	t.Helper()
	told := map[string]func() int64{
		"wit":   func() int64 { return c.told(t) },
		"share": func() int64 { return int64(len(c.names("in/done"))) },
	}
	before := c.full(t, told, []string{"wit", "gen"}, func() { c.drop(o, 2*slack) })
	records := func() int64 {
		s, err := c.status()
		if err != nil {
			return 0
		}
		return s.device("gen").Records
	}
	now := records()
	return c.back(t, map[string]func() bool{
		"wit":   func() bool { return c.told(t) > before["wit"] },
		"share": func() bool { return len(c.names("in")) == 0 },
		"gen":   func() bool { return records() > now },
	})
}

// full fills the disk until the status says that the devices were refused, does what is to be done then, and holds that nobody is
// told of more. Then it takes the ballast away. It gives what each was told until then.
func (c *clinic) full(t *testing.T, told map[string]func() int64, refused []string, then func()) map[string]int64 {
	t.Helper()
	now := func() map[string]int64 {
		all := map[string]int64{}
		for name, n := range told {
			all[name] = n()
		}
		return all
	}
	more := func(most int64, than map[string]int64) {
		for name, n := range now() {
			if n > than[name]+most {
				t.Errorf("%s: %d records were acknowledged while the disk was full", name, n-than[name])
			}
		}
	}
	ballast := filepath.Join(c.data, "ballast")
	fill(t, ballast)
	is := func(s *status) bool {
		return !slices.ContainsFunc(refused, func(name string) bool { return s.device(name).Error == "" })
	}
	began, end := now(), time.Now().Add(*patience)
	for s, err := c.status(); err != nil || !is(&s); s, err = c.status() {
		if time.Now().After(end) {
			t.Fatalf("the full disk is not in the status: %+v %v", s, err)
		}
		if more(fewMore, began); t.Failed() {
			t.FailNow()
		}
		fill(t, ballast) // what the host deleted meanwhile is filled as well
		time.Sleep(look)
	}
	then()
	before := now()
	limit, room := time.Now().Add(*patience), time.Now()
	for time.Since(room) < *holdFull+inFlight && time.Now().Before(limit) {
		if fill(t, ballast) > 0 {
			room = time.Now() // the host let something go: what it took meanwhile had its place
		}
		if time.Since(room) < inFlight {
			before = now()
		}
		time.Sleep(time.Millisecond) // what the host lets go for an instant must be gone when it wants it again
	}
	more(slack, before)
	s, err := c.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range refused {
		t.Logf("full: device %s says %q", name, s.device(name).Error)
	}
	t.Logf("full: alarms %+v", s.Alarms)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	return before
}

// back gives the time until all is as it is to be again.
func (c *clinic) back(t *testing.T, is map[string]func() bool) time.Duration {
	t.Helper()
	gone, parts := time.Now(), map[string]time.Duration{}
	c.eventually("intake is back", *patience, func() bool {
		for name, ok := range is {
			if parts[name] == 0 && ok() {
				parts[name] = time.Since(gone)
			}
		}
		return len(parts) == len(is)
	})
	t.Logf("back: %v", parts)
	return slices.Max(slices.Collect(maps.Values(parts)))
}

// told is what the witness's journal says.
func (c *clinic) told(t *testing.T) int64 {
	t.Helper()
	o := newOracle()
	n, err := o.journal(c.path("wit.journal"))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.faults) > 0 {
		t.Fatal(strings.Join(o.faults, "\n"))
	}
	return n
}

// fill writes to the file until the disk has no room for one more byte, and says how many it had.
func fill(t *testing.T, path string) (wrote int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		n, err := f.Write(make([]byte, size))
		wrote += n
		if errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return wrote
}

// mountSmall mounts an empty file system of smallDisk bytes.
func mountSmall(t *testing.T, kind, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	args := []string{"-t", "tmpfs", "-o", fmt.Sprintf("size=%d", smallDisk), "hostd-faults", dir}
	if kind == "ext4" {
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, smallDisk); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
			t.Skipf("no ext4 can be made here: %v %s", err, out)
		}
		args = []string{"-o", "loop", image, dir}
	}
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		t.Skipf("no %s can be mounted here: %v %s", kind, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
}
