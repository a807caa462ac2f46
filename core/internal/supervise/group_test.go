//go:build linux || windows

package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A plugin that takes more than its memory ends by itself, and says why.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	limited(t)
	r := newRig(t, "plugin", `{"mode":"hungry"}`)
	r.program.Memory = 128 << 20
	w := r.run(t)
	until(t, "its end", func() bool { return w.reasons() != "" })
	mentions(t, errors.New(w.reasons()), "out of memory", "exit status 2", "memory_mb")
}

// With the smallest limit that a configuration may name a plugin that takes 40 MiB does its work.
func TestSmallestMemoryLimit(t *testing.T) {
	t.Parallel()
	limited(t)
	r := newRig(t, "plugin", `{"mode":"modest","batches":20,"size":1000}`)
	r.program.Memory = 64 << 20
	w := r.run(t)
	until(t, "ack 20", func() bool { return strings.Contains(r.heard(), "ack 20\n") })
	if s := w.Status(); s.State != Up || s.Restarts > 0 {
		t.Errorf("status %+v", s)
	}
}

// child is the process that the plugin has started.
func (r *rig) child(t *testing.T) (pid int) {
	t.Helper()
	until(t, "a child", func() bool {
		text, err := os.ReadFile(filepath.Join(r.Open.StateDir, "child"))
		if err == nil {
			pid, err = strconv.Atoi(string(text))
		}
		return err == nil
	})
	if gone(pid) {
		t.Fatal("the child is not there")
	}
	return pid
}

// A plugin that hears no end of ctx and hangs in Close is gone within 10 s of the stop, and what it has started too.
func TestStopOfAStubbornPlugin(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"mode":"stubborn"}`)
	w := r.run(t)
	w.reached(t, Up)
	pid, child := w.newest().cmd.Process.Pid, r.child(t)
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stop took %s", took)
	} else {
		t.Logf("stop took %s", took)
	}
	if !gone(pid) || !gone(child) {
		t.Errorf("gone: the plugin %t, its child %t", gone(pid), gone(child))
	}
}

// What a plugin has started goes with it, also where the plugin ends by itself and what is left holds its streams.
func TestChildGoesWithItsPlugin(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"mode":"parent"}`)
	w := r.run(t)
	w.reached(t, Up)
	child := r.child(t)
	if err := w.newest().cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "end of the child", func() bool { return gone(child) })
	w.reached(t, Up, BackingOff, Up)
	mentions(t, errors.New(w.reasons()), killed)
}
