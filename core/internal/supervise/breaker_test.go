package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
)

// resting is an instance without a process: the test says how each one ends.
type resting struct {
	*Instance
	crashes *breaker
	pause   *restarts
	heard   int // of OnCrash
}

func newResting() *resting {
	r := &resting{
		Instance: NewInstance(Program{}, nil, slog.New(slog.DiscardHandler)),
		crashes:  &breaker{}, pause: &restarts{pause: life.Backoff{First: firstPause, Longest: longestPause}},
	}
	r.OnCrash = func(error) { r.heard++ }
	return r
}

// ends has a process end with err, and gives the time until the next one.
func (r *resting) ends(t *testing.T, err error) time.Duration {
	t.Helper()
	began := time.Now()
	if err := r.rest(t.Context(), err, r.crashes, r.pause); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

var errCrash = fmt.Errorf("%w: it fell over", wire.ErrGone)

// Four crashes are followed by a try each; the fifth within a minute is followed by none before the quiet period is over,
// and then the count begins anew.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResting()
		for round := range 2 {
			for n := range crashLimit - 1 {
				longest := firstPause << n
				if took := r.ends(t, errCrash); took < longest/2 || took > longest+1 {
					t.Errorf("round %d: %s until the try after crash %d, want %s to %s", round, took, n+1, longest/2, longest)
				}
				if s := r.Status(); s.State != Failing {
					t.Errorf("round %d: state %s after crash %d", round, s.State, n+1)
				}
			}
			if took := r.ends(t, errCrash); took != quietPeriod {
				t.Errorf("round %d: %s until the try after the last crash, want %s", round, took, quietPeriod)
			}
			if s := r.Status(); s.State != Starting || s.Error != "" {
				t.Errorf("round %d: status %+v with a closed breaker", round, s)
			}
		}
		if r.heard != 2*crashLimit {
			t.Errorf("OnCrash was called %d times for %d crashes", r.heard, 2*crashLimit)
		}
	})
}

func TestBreakerIsClosedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResting()
		r.CloseBreaker() // nothing is open
		for range crashLimit - 1 {
			r.ends(t, errCrash)
		}
		took := make(chan time.Duration)
		go func() { took <- r.ends(t, errCrash) }()
		time.Sleep(3 * time.Minute)
		if s := r.Status(); s.State != BreakerOpen || !strings.Contains(s.Error, "5 crashes within 1m") || !strings.Contains(s.Error, "it fell over") {
			t.Errorf("status %+v", s)
		}
		r.CloseBreaker()
		r.CloseBreaker() // twice by two operators
		if got := <-took; got != 3*time.Minute {
			t.Errorf("tried again after %s, want at once when it was closed", got)
		}
		if took := r.ends(t, errCrash); took > firstPause {
			t.Errorf("the pause after it is %s, want that of a first failure", took)
		}
	})
}

func TestBreakerEndsWithTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResting()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		for range crashLimit - 1 {
			r.ends(t, errCrash)
		}
		if err := r.rest(ctx, errCrash, r.crashes, r.pause); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rest = %v", err)
		}
	})
}

// What is no crash in a row never opens the breaker: crashes that are far between, errors of a process that is well, want
// of room, a file that is not there, a bug of the host's own.
func TestWhatIsNoCrashLoop(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		every time.Duration
		heard int
	}{
		{"far between", errCrash, 16 * time.Second, 20},
		{"an error of its own", errors.New("open: port is not there"), 0, 0},
		{"no room", &noRoomError{err: errCrash}, 0, 0},
		{"no file", fmt.Errorf("%w: %w", ErrStart, fs.ErrNotExist), 0, 0},
		{"a bug of the host", &life.Panic{Value: "bug"}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResting()
				for range 20 {
					if took := r.ends(t, c.err); took > longestPause {
						t.Fatalf("left alone for %s", took)
					}
					time.Sleep(c.every)
				}
				if r.heard != c.heard {
					t.Errorf("OnCrash was called %d times, want %d", r.heard, c.heard)
				}
			})
		})
	}
}

// A plugin that exits in Open is given up, with its exit code, and is not started again until somebody says so.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	w := newRig(t, "plugin", `{"mode":"crash"}`).run(t)
	w.reached(t, Failing, Failing, Failing, Failing, BreakerOpen)
	s := w.Status()
	if s.State != BreakerOpen || s.Restarts != crashLimit-1 || !strings.Contains(s.Error, "exit status 7") || !strings.Contains(s.Error, "10m") {
		t.Errorf("status %+v", s)
	}
	w.CloseBreaker()
	w.reached(t, Failing, Failing, Failing, Failing, BreakerOpen, Failing)
	if n := w.Status().Restarts; n < crashLimit {
		t.Errorf("%d restarts after it was closed", n)
	}
}

// A run that has done its work makes its crash the first one again.
func TestRunThatWorkedResetsTheCount(t *testing.T) {
	t.Parallel()
	w := watch(t, program(t, "plugin"), func(ctx context.Context, proc *Process, up func()) error {
		up()
		proc.worked.Store(true)
		proc.kill()
		return errCrash
	})
	var want []State
	for range crashLimit + 1 {
		want = append(want, Up, BackingOff)
	}
	w.reached(t, want...)
}

func TestWhatIsWork(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"batches":1}`)
	r.keep = func(*DeviceBatch) bool { return true }
	w := r.run(t)
	until(t, "batch 1", func() bool { return r.count(&r.taken) == 1 })
	if w.newest().worked.Load() {
		t.Error("a batch that is not stored counts as work")
	}
	var answer func(error)
	r.set(func() { answer = r.late["1"] })
	answer(nil)
	r.hears(t, "ack 1")
	until(t, "work", func() bool { return w.newest().worked.Load() })
}

// Wherever in its rounds the watch is when a plugin falls silent, it says so within 10 seconds, and not for one answer that
// is late.
func TestSilenceIsNoticed(t *testing.T) {
	for after := time.Duration(0); after <= healthEvery; after += 250 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			silent := time.Now().Add(time.Minute + after)
			late := true
			err := watchHealth(t.Context(), func(ctx context.Context) error {
				if time.Now().Before(silent) && (time.Since(silent) < -40*time.Second || !late) {
					return nil
				}
				late = time.Now().After(silent)
				<-ctx.Done()
				return wire.ErrHung
			})
			if took := time.Since(silent); !errors.Is(err, wire.ErrHung) || took < 0 || took > 10*time.Second {
				t.Errorf("silent %s into a round: watchHealth = %v after %s", after, err, took)
			}
		})
	}
}
