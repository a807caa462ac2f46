package sdktest

import (
	"debug/buildinfo"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// cycles is how often a plugin is opened and closed to see what grows.
const cycles = 5

// lodger is a plugin that is looked at from outside.
type lodger struct {
	proc  func() *process
	renew func() // a new process
	cycle func() // open it, let it work, close it
}

// checkLeft opens and closes a plugin many times, and looks for what is more after each time: children, files, and
// goroutines, of which Go tells when it is asked to quit.
func checkLeft(t testing.TB, l lodger) {
	t.Helper()
	if !looks {
		t.Skip("only Linux shows what a process has open and what it has started")
	}
	l.cycle()
	files := openFiles(t, l.proc().pid)
	for range cycles {
		l.cycle()
	}
	if left := await(t, closeTime, func() []child { return children(t, l.proc().pid) }); len(left) > 0 {
		t.Errorf("after Close the process %s lives on, which the plugin has started", left[0].name)
	}
	if n := openFiles(t, l.proc().pid) - files; n >= cycles {
		t.Errorf("after %d more times of Open and Close it has %d more files, sockets or ports open", cycles, n)
	}
	many := creators(t, l.proc())
	if many == nil {
		return // it is not of Go
	}
	l.renew()
	l.cycle()
	few := creators(t, l.proc())
	for _, by := range slices.Sorted(maps.Keys(many)) {
		if n := many[by] - few[by]; n >= cycles-1 {
			t.Errorf("after %d more times of Open and Close it has %d more goroutines, which %s has started", cycles, n, by)
		}
	}
}

// checkOrphans looks for those of the children that live on when the plugin has ended.
func checkOrphans(t testing.TB, before []child) {
	t.Helper()
	left := await(t, time.Second, func() []child {
		return slices.DeleteFunc(slices.Clone(before), func(c child) bool { return !lives(c) })
	})
	if len(left) > 0 {
		t.Errorf("the plugin has ended with its host, and the process %s lives on, which it has started", left[0].name)
	}
}

// await gives what look sees, once that is nothing or the time is over.
func await(t testing.TB, limit time.Duration, look func() []child) []child {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; {
		seen := look()
		if len(seen) == 0 || time.Now().After(end) || t.Context().Err() != nil {
			return seen
		}
		<-tick.C
	}
}

// creators ends a process of Go, and counts its goroutines by the function that has started them; nil for another one.
func creators(t testing.TB, p *process) map[string]int {
	t.Helper()
	if _, err := buildinfo.ReadFile(p.binary); err != nil {
		return nil
	}
	quit(t, p.pid)
	if !p.awaitGone(t.Context(), stopTime) {
		t.Fatalf("lives %v after SIGQUIT", stopTime)
	}
	p.stop(t)
	count := map[string]int{}
	for line := range strings.Lines(p.log.said()) {
		if by, ok := strings.CutPrefix(line, "created by "); ok {
			by, _, _ = strings.Cut(strings.TrimSpace(by), " in goroutine")
			count[by]++
		}
	}
	if len(count) == 0 {
		t.Fatalf("a process of Go that was asked to quit showed no goroutine: %.500q", p.log.said())
	}
	return count
}
