package dispatch_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

var seeds = flag.Int("seeds", 30, "random sinks to try")

// randomSink misbehaves by chance, and counts what may make a record a dead letter.
type randomSink struct {
	r       *rig
	rnd     *rand.Rand
	poison  map[string]bool // fails without a class, always
	refused map[string]bool // refused for good, always
	tries   map[string]int  // failures without a class alone
	crashes map[string]int  // alone
}

func (s *randomSink) write(b batch) (dispatch.Outcome, error) {
	s.balanced()
	time.Sleep(time.Duration(s.rnd.IntN(50)) * time.Millisecond)
	switch n := s.rnd.IntN(20); {
	case n == 0:
		if len(b.texts) == 1 {
			s.crashes[b.texts[0]]++
		}
		return dispatch.Outcome{}, errBroken
	case n < 4:
		return failure(sdk.ClassUnavailable, "away")
	case slices.ContainsFunc(b.texts, func(t string) bool { return s.poison[t] }):
		if len(b.texts) == 1 {
			s.tries[b.texts[0]]++
		}
		return failure(sdk.ClassNone, "cannot")
	}
	var out dispatch.Outcome
	for i, text := range b.texts {
		if s.refused[text] {
			out.Refused = append(out.Refused, dispatch.Refusal{Index: i, Reason: "never"})
		}
	}
	return out, nil
}

// balanced holds at each step: while a batch is in the sink's hands nothing is being settled.
func (s *randomSink) balanced() {
	if k := s.r.spool.Stats().Sinks[s.r.id]; k.Appended != k.Delivered+k.Dead+k.Backlog {
		s.r.t.Errorf("appended %d is not delivered %d + dead %d + backlog %d", k.Appended, k.Delivered, k.Dead, k.Backlog)
	}
}

func TestEveryRecordIsDeliveredDeadOrWaiting(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomDelivery(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func randomDelivery(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, dispatch.Options{Records: 1 + rnd.IntN(20), InFlight: 1 + rnd.IntN(3)})
	defer r.stop()
	s := &randomSink{r: r, rnd: rnd, poison: map[string]bool{}, refused: map[string]bool{}, tries: map[string]int{}, crashes: map[string]int{}}
	for range 6 {
		s.poison[fmt.Sprint(1+rnd.IntN(120))] = true
		s.refused[fmt.Sprint(1+rnd.IntN(120))] = true
	}
	r.put(20)
	var stored []string
	for runs := 0; r.n < 120 || r.spool.Stats().Sinks[r.id].Backlog > 0; runs++ {
		if r.n < 120 {
			r.put(min(1+rnd.IntN(30), 120-r.n))
		}
		c := newConn(s.write)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rnd.IntN(600))*time.Second)
		if err := r.lane.Deliver(ctx, c); !errors.Is(err, errBroken) && ctx.Err() == nil {
			t.Fatalf("Deliver = %v", err)
		}
		cancel()
		s.balanced()
		stored = append(stored, c.stored()...)
		if runs == 1000 {
			t.Fatalf("backlog %d after %d runs", r.spool.Stats().Sinks[r.id].Backlog, runs)
		}
	}
	s.check(t, stored)
}

// check holds that every record is stored or dead, in order, and that each dead one deserved it.
func (s *randomSink) check(t *testing.T, stored []string) {
	t.Helper()
	seen := map[string]bool{}
	last := 0
	for _, text := range stored {
		var n int
		if fmt.Sscan(text, &n); !seen[text] && n < last {
			t.Errorf("%d was stored after %d", n, last)
		}
		seen[text], last = true, max(last, n)
	}
	for _, letter := range s.r.dead() {
		text, why, _ := strings.Cut(letter, ": ")
		deserved := strings.HasPrefix(why, "never") && s.refused[text] ||
			strings.HasPrefix(why, "cannot") && s.tries[text] >= 5 ||
			strings.HasPrefix(why, "sink crashed") && s.crashes[text] >= 3
		if !deserved || seen[text] {
			t.Errorf("dead letter %q after %d tries and %d crashes alone, stored %t", letter, s.tries[text], s.crashes[text], seen[text])
		}
		seen[text] = true
	}
	for _, text := range numbers(1, s.r.n) {
		if !seen[text] {
			t.Errorf("record %s is neither stored nor dead", text)
		}
	}
}

// A segment that cannot be read for a while costs nothing but time; one that stays unreadable is passed over.
func TestUnreadableSpool(t *testing.T) {
	for _, c := range []struct {
		name string
		heal bool
		want []string
	}{{"for a while", true, []string{"1", "2", "3"}}, {"for good", false, []string{"2", "3"}}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := newRigIn(t, dir, spool.Options{SegmentSize: 1}, dispatch.Options{}) // each group has a segment of its own
				defer r.stop()
				r.put(1)
				files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
				if err != nil || len(files) == 0 {
					t.Fatalf("segments %v, %v", files, err)
				}
				path := slices.Max(files)
				r.put(1)
				r.put(1)
				if err := os.Rename(path, path+".away"); err != nil {
					t.Fatal(err)
				}
				k := newConn(nil)
				stop := r.deliver(k)
				synctest.Wait()
				if w := r.lane.Waiting(); !strings.Contains(w, spool.ErrDisk.Error()) {
					t.Errorf("waiting for %q", w)
				}
				if c.heal {
					if err := os.Rename(path+".away", path); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Minute)
				if w := r.lane.Waiting(); w != "" {
					t.Errorf("still waiting for %q", w)
				}
				ended(t, stop())
				same(t, "stored", k.stored(), c.want)
			})
		})
	}
}
