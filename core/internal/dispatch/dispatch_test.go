package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOrderAndTwoInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 10})
		defer r.stop()
		r.put(105)
		c := newConn(func(batch) (dispatch.Outcome, error) {
			time.Sleep(time.Second)
			return dispatch.Outcome{}, nil
		})
		stop := r.deliver(c)
		time.Sleep(time.Minute)
		ended(t, stop())
		same(t, "stored", c.stored(), numbers(1, 105))
		if c.mostHand != 2 || len(c.sent) != 11 {
			t.Errorf("%d batches, %d in flight", len(c.sent), c.mostHand)
		}
		r.accounts(105, 0, 0)
	})
}

func TestRefusedRecordsAreDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{})
		defer r.stop()
		r.put(5)
		c := newConn(func(batch) (dispatch.Outcome, error) {
			return dispatch.Outcome{Refused: []dispatch.Refusal{{1, "no such code"}, {3, "too long"}, {1, "named twice"}}}, nil
		})
		stop := r.deliver(c)
		time.Sleep(time.Second)
		ended(t, stop())
		same(t, "stored", c.stored(), []string{"1", "3", "5"})
		same(t, "dead", r.dead(), []string{"2: no such code (1)", "4: too long (1)"})
		r.accounts(3, 2, 0)
	})
}

func TestRefusalBesideTheBatchIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{})
		defer r.stop()
		r.put(2)
		c := newConn(func(batch) (dispatch.Outcome, error) {
			return dispatch.Outcome{Refused: []dispatch.Refusal{{0, "x"}, {2, "y"}}}, nil
		})
		if err := r.lane.Deliver(t.Context(), c); err == nil || !strings.Contains(err.Error(), "record 2 of a batch of 2") {
			t.Errorf("Deliver = %v", err)
		}
		r.accounts(0, 0, 2)
	})
}

// A letter that is on the disk is not written again when its batch comes again.
func TestDeadLetterIsWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{})
		defer r.stop()
		r.put(3)
		calls := 0
		r.log.dead = func() error {
			if calls++; calls == 2 {
				return spool.ErrFull
			}
			return nil
		}
		refuse := func(batch) (dispatch.Outcome, error) {
			return dispatch.Outcome{Refused: []dispatch.Refusal{{0, "a"}, {1, "b"}}}, nil
		}
		if err := r.lane.Deliver(t.Context(), newConn(refuse)); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("Deliver = %v, want ErrFull", err)
		}
		stop := r.deliver(newConn(refuse))
		time.Sleep(time.Second)
		ended(t, stop())
		same(t, "dead", r.dead(), []string{"1: a (1)", "2: b (1)"})
		r.accounts(1, 2, 0)
	})
}

func TestTransientFailureWaitsForEver(t *testing.T) {
	for _, class := range []sdk.Class{sdk.ClassBusy, sdk.ClassUnavailable, sdk.ClassUnknown} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, dispatch.Options{})
			defer r.stop()
			r.put(3)
			begin := time.Now()
			var healed atomic.Bool
			var mu sync.Mutex
			var tries []time.Duration
			seen := func() []time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(tries)
			}
			c := newConn(func(batch) (dispatch.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				if healed.Load() {
					return dispatch.Outcome{}, nil
				}
				tries = append(tries, time.Since(begin))
				return failure(class, "database is away")
			})
			stop := r.deliver(c)
			time.Sleep(24 * time.Hour)
			r.accounts(0, 0, 3)
			if w := r.lane.Waiting(); w != "database is away" {
				t.Errorf("waiting for %q", w)
			}
			tried := seen()
			if n := len(tried); n < 24*60*2 || n > 24*60*4+20 {
				t.Errorf("%d tries in a day", n)
			}
			for i := 1; i < min(6, len(tried)); i++ { // with jitter each pause is 1/2 to 1 of its turn
				if gap, full := tried[i]-tried[i-1], 500*time.Millisecond<<(i-1); gap < full/2 || gap > full+time.Millisecond {
					t.Errorf("pause %d is %s", i, gap)
				}
			}
			healed.Store(true)
			time.Sleep(time.Minute)
			healed.Store(false)
			r.put(1)
			time.Sleep(time.Second)
			if n := len(seen()) - len(tried); n < 2 {
				t.Errorf("%d tries in the first second of a new failure: the pause is still the old one", n)
			}
			healed.Store(true)
			time.Sleep(time.Minute)
			ended(t, stop())
			same(t, "stored", c.stored(), numbers(1, 4))
			r.accounts(4, 0, 0)
			if r.lane.Waiting() != "" {
				t.Error("still waiting")
			}
		})
	}
}

// culprit fails every batch with the record in it.
func culprit(record string, class sdk.Class) func(batch) (dispatch.Outcome, error) {
	return func(b batch) (dispatch.Outcome, error) {
		if slices.Contains(b.texts, record) {
			return failure(class, "cannot")
		}
		return dispatch.Outcome{}, nil
	}
}

func TestCulpritIsIsolated(t *testing.T) {
	for _, c := range []struct {
		class sdk.Class
		tries int
	}{{sdk.ClassNone, 5}, {sdk.ClassPermanent, 1}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, dispatch.Options{Records: 100})
			defer r.stop()
			r.put(250)
			k := newConn(culprit("77", c.class))
			stop := r.deliver(k)
			time.Sleep(10 * time.Minute)
			ended(t, stop())
			same(t, "stored", k.stored(), append(numbers(1, 76), numbers(78, 250)...))
			same(t, "dead", r.dead(), []string{fmt.Sprintf("77: cannot (%d)", c.tries)})
			alone := 0
			for _, b := range k.asked() {
				if b == "77" {
					alone++
				}
			}
			if alone != c.tries {
				t.Errorf("tried alone %d times, want %d", alone, c.tries)
			}
			r.accounts(249, 1, 0)
		})
	}
}

// After a culprit is gone, batches are full again and two are in flight.
func TestLaneRecoversItsSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 10})
		defer r.stop()
		r.put(10)
		write := culprit("3", sdk.ClassPermanent)
		k := newConn(func(b batch) (dispatch.Outcome, error) {
			time.Sleep(time.Millisecond) // the next batch is handed over meanwhile
			return write(b)
		})
		stop := r.deliver(k)
		time.Sleep(time.Minute)
		k.mu.Lock()
		k.mostHand, k.sent = 0, nil
		k.mu.Unlock()
		r.put(100)
		time.Sleep(time.Minute)
		ended(t, stop())
		if k.mostHand != 2 || len(k.sent) != 10 {
			t.Errorf("%d batches for 100 records, %d in flight", len(k.sent), k.mostHand)
		}
		r.accounts(109, 1, 0)
	})
}

// The sink skips what came behind a failed batch; it comes again in order, the first batch of it with the mark.
func TestAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 2})
		defer r.stop()
		r.put(6)
		fails := 2
		k := newConn(func(b batch) (dispatch.Outcome, error) {
			time.Sleep(time.Second) // the next batch is there by then
			if b.texts[0] == "3" && fails > 0 {
				fails--
				return failure(sdk.ClassBusy, "locked")
			}
			return dispatch.Outcome{}, nil
		})
		stop := r.deliver(k)
		time.Sleep(time.Minute)
		ended(t, stop())
		var sent []string
		for _, b := range k.sent {
			sent = append(sent, fmt.Sprintf("%s %t", b, b.again))
		}
		same(t, "sent", sent, []string{
			"1 2 false", "3 4 false", "5 6 false",
			"3 4 true", "5 6 false",
			"3 4 true", "5 6 false",
		})
		same(t, "stored", k.stored(), numbers(1, 6))
	})
}

func TestRecordThatCrashesTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 8})
		defer r.stop()
		r.put(8)
		alone, runs := 0, 0
		var stored []string
		for ; r.spool.Stats().Sinks[r.id].Backlog > 0 && runs < 50; runs++ {
			k := newConn(func(b batch) (dispatch.Outcome, error) {
				if slices.Contains(b.texts, "5") {
					if len(b.texts) == 1 {
						alone++
					}
					return dispatch.Outcome{}, errBroken
				}
				return dispatch.Outcome{}, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := r.lane.Deliver(ctx, k); !errors.Is(err, errBroken) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Deliver = %v", err)
			}
			cancel()
			stored = append(stored, k.stored()...)
		}
		same(t, "stored", stored, []string{"1", "2", "3", "4", "6", "7", "8"})
		same(t, "dead", r.dead(), []string{"5: sink crashed (3)"})
		if alone != 3 {
			t.Errorf("%d crashes alone", alone)
		}
		r.accounts(7, 1, 0)
	})
}

// A record at the head of a full batch that crashes the sink is a dead letter before so many crashes follow each other
// without a batch that is settled that the sink is given up, and so is one right behind it.
func TestPoisonAtTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{})
		defer r.stop()
		r.put(1000)
		crashes, most := 0, 0
		for r.spool.Stats().Sinks[r.id].Backlog > 0 {
			k := newConn(func(b batch) (dispatch.Outcome, error) {
				if slices.Contains(b.texts, "1") || slices.Contains(b.texts, "2") {
					return dispatch.Outcome{}, errBroken
				}
				return dispatch.Outcome{}, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := r.lane.Deliver(ctx, k)
			cancel()
			if k.settled > 0 {
				crashes = 0
			}
			if errors.Is(err, errBroken) {
				crashes++
				most = max(most, crashes)
			}
		}
		same(t, "dead", r.dead(), []string{"1: sink crashed (3)", "2: sink crashed (3)"})
		if most >= 5 {
			t.Errorf("%d crashes in a row", most)
		}
	})
}

func TestSilentSink(t *testing.T) {
	for _, c := range []struct {
		name string
		fail bool // the first batch fails, and the silence is over the one behind it
	}{{"first", false}, {"behind a failure", true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, dispatch.Options{Records: 2, Timeout: time.Minute})
				defer r.stop()
				r.put(4)
				k := &silent{conn: newConn(nil), fail: c.fail}
				begin := time.Now()
				if err := r.lane.Deliver(t.Context(), k); !errors.Is(err, dispatch.ErrNoOutcome) {
					t.Errorf("Deliver = %v, want ErrNoOutcome", err)
				}
				if took := time.Since(begin); took < time.Minute || took > 70*time.Second {
					t.Errorf("after %s", took)
				}
				r.accounts(0, 0, 4)
			})
		})
	}
}

// TestSilenceIsNoFaultOfARecord: a sink whose target is frozen is started anew for as long as it takes.
func TestSilenceIsNoFaultOfARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 1, Timeout: time.Minute})
		defer r.stop()
		r.put(2)
		for range 10 {
			if err := r.lane.Deliver(t.Context(), &silent{conn: newConn(nil)}); !errors.Is(err, dispatch.ErrNoOutcome) {
				t.Fatalf("Deliver = %v, want ErrNoOutcome", err)
			}
			if !strings.Contains(r.lane.Waiting(), "not answered") {
				t.Fatalf("waiting: %q", r.lane.Waiting())
			}
		}
		r.accounts(0, 0, 2)
	})
}

// silent takes batches and answers none, or the first one with a failure only.
type silent struct {
	*conn
	fail bool
}

// Recv is dispatch.Conn's.
func (s *silent) Recv() (dispatch.Outcome, error) {
	if s.fail {
		s.fail = false
		time.Sleep(time.Second)
		return failure(sdk.ClassBusy, "locked")
	}
	<-s.end
	return dispatch.Outcome{}, errBroken
}

func TestStopWaitsForOutcomes(t *testing.T) {
	for _, c := range []struct {
		takes, stops time.Duration
		delivered    int
		dead         int
	}{{1500 * time.Millisecond, 1500 * time.Millisecond, 3, 1}, {time.Hour, 2 * time.Second, 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, dispatch.Options{})
			defer r.stop()
			r.put(4)
			var k *conn
			k = newConn(func(batch) (dispatch.Outcome, error) {
				select {
				case <-k.end:
					return dispatch.Outcome{}, errBroken
				case <-time.After(c.takes):
				}
				return dispatch.Outcome{Refused: []dispatch.Refusal{{0, "no"}}}, nil
			})
			stop := r.deliver(k)
			synctest.Wait()
			begin := time.Now()
			ended(t, stop())
			if took := time.Since(begin); took != c.stops {
				t.Errorf("stop took %s, want %s", took, c.stops)
			}
			r.accounts(c.delivered, c.dead, 4-c.delivered-c.dead)
		})
	}
}

// Part-filled batches are at least 20 ms apart; full ones are not held, nor is one after a pause.
func TestGapBetweenPartFilledBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{Records: 4, InFlight: 2})
		defer r.stop()
		var at []time.Duration
		begin := time.Now()
		k := newConn(func(batch) (dispatch.Outcome, error) {
			at = append(at, time.Since(begin))
			return dispatch.Outcome{}, nil
		})
		stop := r.deliver(k)
		for _, step := range []struct {
			put  int
			wait time.Duration
		}{{1, 0}, {1, time.Millisecond}, {1, 29 * time.Millisecond}, {1, 70 * time.Millisecond}, {12, time.Second}} {
			r.put(step.put)
			synctest.Wait()
			time.Sleep(step.wait)
		}
		ended(t, stop())
		same(t, "batches", k.asked(), []string{"1", "2 3", "4", "5 6 7 8", "9 10 11 12", "13 14 15 16"})
		want := []time.Duration{0, 20, 40, 100, 100, 100}
		for i := range want {
			if i >= len(at) || at[i].Truncate(time.Millisecond) != want[i]*time.Millisecond {
				t.Errorf("batches at %v, want %v ms", at, want)
				break
			}
		}
	})
}

func TestStoppedPoolEndsTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dispatch.Options{})
		defer r.stop()
		lane := dispatch.New(&r.log, dispatch.Options{Sink: r.id, Log: slog.New(slog.DiscardHandler), Work: func(context.Context, func(context.Context)) error {
			return errors.New("pool has stopped")
		}})
		if err := lane.Deliver(t.Context(), newConn(nil)); err == nil || !strings.Contains(err.Error(), "pool has stopped") {
			t.Errorf("Deliver = %v", err)
		}
	})
}
