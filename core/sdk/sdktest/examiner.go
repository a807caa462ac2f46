package sdktest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostd/hostd/core/internal/life"
)

// examiner is a testing.TB outside of a Go test: it keeps what one rule reports to it. A rule that calls a method which
// is not below panics, and that is reported, too.
type examiner struct {
	testing.TB
	ctx    context.Context // of the rule; ends before its clean-ups, as a test's does
	cancel context.CancelFunc

	mu       sync.Mutex
	reports  []string // guarded by mu
	skipped  bool     // guarded by mu
	why      Outcome  // guarded by mu: of a skipped rule
	reason   string   // guarded by mu: of a skipped rule
	cleanups []func() // guarded by mu
}

// newExaminer makes the examiner of one rule.
func newExaminer(ctx context.Context) *examiner {
	e := &examiner{}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// run runs the rule and its clean-ups, and waits for them. The rule has a goroutine of its own, which Fatal ends.
func (e *examiner) run(check func(t testing.TB)) {
	e.alone(func() { check(e) })
	e.cancel()
	for {
		e.mu.Lock()
		n := len(e.cleanups)
		if n == 0 {
			e.mu.Unlock()
			return
		}
		last := e.cleanups[n-1]
		e.cleanups = e.cleanups[:n-1]
		e.mu.Unlock()
		e.alone(last)
	}
}

func (e *examiner) alone(f func()) {
	g := life.NewGroup(context.WithoutCancel(e.ctx))
	g.Go("rule", func(context.Context) error {
		f()
		return nil
	})
	if err := g.Wait(); err != nil {
		e.report(fmt.Sprintf("the suite itself failed: %v", err))
	}
}

func (e *examiner) report(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reports = append(e.reports, strings.TrimSpace(text))
}

func (e *examiner) skip(why Outcome, reason string) {
	e.mu.Lock()
	e.skipped, e.why, e.reason = true, why, strings.TrimSpace(reason)
	e.mu.Unlock()
	runtime.Goexit()
}

// Helper is testing.TB's, like all that follow.
func (e *examiner) Helper() {}

// Name says what runs.
func (e *examiner) Name() string { return "conformance" }

// Context ends with the rule.
func (e *examiner) Context() context.Context { return e.ctx }

// Log keeps nothing: a rule that holds has nothing to say.
func (e *examiner) Log(...any) {}

// Logf keeps nothing.
func (e *examiner) Logf(string, ...any) {}

// Error reports.
func (e *examiner) Error(args ...any) { e.report(fmt.Sprintln(args...)) }

// Errorf reports.
func (e *examiner) Errorf(format string, args ...any) { e.report(fmt.Sprintf(format, args...)) }

// Fatal reports, and ends the rule.
func (e *examiner) Fatal(args ...any) {
	e.report(fmt.Sprintln(args...))
	runtime.Goexit()
}

// Fatalf reports, and ends the rule.
func (e *examiner) Fatalf(format string, args ...any) {
	e.report(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// Skip ends the rule: it does not apply, or the suite lacks something.
func (e *examiner) Skip(args ...any) {
	why := NotNeeded
	if slices.ContainsFunc(args, func(a any) bool { _, ok := a.(unexamined); return ok }) {
		why = NotExamined
	}
	e.skip(why, strings.TrimPrefix(fmt.Sprintln(args...), "not examined: "))
}

// Skipf ends a rule that does not apply.
func (e *examiner) Skipf(format string, args ...any) { e.skip(NotNeeded, fmt.Sprintf(format, args...)) }

// Failed is whether something was reported.
func (e *examiner) Failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.reports) > 0
}

// Cleanup calls f at the end of the rule, the last one first.
func (e *examiner) Cleanup(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}

// TempDir is a fresh folder, which is gone after the rule.
func (e *examiner) TempDir() string {
	dir, err := os.MkdirTemp("", "hostd-test")
	if err != nil {
		e.Fatalf("make folder: %v", err)
	}
	e.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			e.Errorf("remove folder: %v", err)
		}
	})
	return dir
}
