package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running starts a pool inside a bubble and returns its stop, which waits.
func running(t *testing.T, o schedule.Options) (*schedule.Pool, context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := schedule.New(o)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, ctx, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestOneJobOfAKeyAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 4, Queue: 100})
		defer stop()
		var mu sync.Mutex
		var order []int
		active := 0
		for i := range 20 {
			err := p.Do(ctx, "ark", schedule.Arrival, func(context.Context) {
				mu.Lock()
				active++
				if active > 1 {
					t.Error("two jobs of one key at once")
				}
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				active--
				mu.Unlock()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Fatalf("order %v", order)
		}
	})
}

func TestTurnsBetweenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 1, Queue: 1000})
		defer stop()
		var order []string // one worker: no lock needed between its jobs
		block := make(chan struct{})
		must(t, p.Do(ctx, "first", schedule.Arrival, func(context.Context) { <-block }))
		synctest.Wait()
		for range 100 {
			must(t, p.Do(ctx, "flood", schedule.Arrival, func(context.Context) { order = append(order, "flood") }))
		}
		must(t, p.Do(ctx, "quiet", schedule.Arrival, func(context.Context) { order = append(order, "quiet") }))
		close(block)
		synctest.Wait()
		if at := slices.Index(order, "quiet"); at > 1 {
			t.Fatalf("the quiet key waited for %d jobs of the flooding one", at)
		}
	})
}

func TestPollsLeaveTheLastWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 2, Queue: 10})
		frozen := make(chan struct{})
		for _, key := range []string{"a", "b", "c"} {
			must(t, p.Do(ctx, key, schedule.Poll, func(context.Context) { <-frozen }))
		}
		ran := false
		must(t, p.Do(ctx, "listener", schedule.Arrival, func(context.Context) { ran = true }))
		synctest.Wait()
		if !ran {
			t.Fatal("frozen polls hold every worker")
		}
		if s := p.Stats(); s.Busy != 1 || s.Queued != 2 {
			t.Fatalf("busy %d, queued %d; want 1 and 2", s.Busy, s.Queued)
		}
		close(frozen)
		synctest.Wait()
		stop()
	})
}

func TestFullQueueMakesDoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 1, Queue: 1})
		defer stop()
		block := make(chan struct{})
		must(t, p.Do(ctx, "a", schedule.Arrival, func(context.Context) { <-block }))
		synctest.Wait()
		must(t, p.Do(ctx, "a", schedule.Arrival, func(context.Context) {}))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := p.Do(short, "b", schedule.Arrival, func(context.Context) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Do on a full queue = %v, want the deadline", err)
		}
		close(block)
	})
}

func TestStoppedPoolSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, stop := running(t, schedule.Options{Size: 1, Queue: 1})
		synctest.Wait()
		stop()
		if err := p.Do(context.Background(), "a", schedule.Arrival, func(context.Context) {}); !errors.Is(err, schedule.ErrStopped) {
			t.Fatalf("Do = %v, want ErrStopped", err)
		}
	})
}

// A panic in a job is Run's error at once, with the stack, and nobody waits for the pool any more.
func TestPanicInAJobEndsThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := schedule.New(schedule.Options{Size: 2, Queue: 1})
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		running := make(chan struct{})
		must(t, p.Do(t.Context(), "other", schedule.Arrival, func(ctx context.Context) { <-ctx.Done(); close(running) }))
		must(t, p.Do(t.Context(), "ark", schedule.Arrival, func(context.Context) { time.Sleep(time.Second); panic("a bug") }))
		synctest.Wait()
		must(t, p.Do(t.Context(), "ark", schedule.Arrival, func(context.Context) { t.Error("ran after the end") }))
		waits := make(chan error, 1) // on the full queue, with a context that goes on
		go func() { waits <- p.Do(t.Context(), "ark", schedule.Arrival, func(context.Context) {}) }()
		err := <-done
		<-running
		var bug *life.Panic
		if !errors.As(err, &bug) || bug.Value != "a bug" || !strings.Contains(string(bug.Stack), "pool_test.go") {
			t.Errorf("Run = %v, want the panic with its stack", err)
		}
		if err := <-waits; !errors.Is(err, schedule.ErrStopped) {
			t.Errorf("Do = %v, want ErrStopped", err)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 2, Queue: 10})
		defer stop()
		for range 3 {
			must(t, p.Do(ctx, "a", schedule.Arrival, func(context.Context) { time.Sleep(time.Second) }))
		}
		must(t, p.Do(ctx, "b", schedule.Deliver, func(context.Context) { time.Sleep(time.Second) }))
		must(t, p.Do(ctx, "c", schedule.Poll, func(context.Context) {}))
		p.Overrun()
		synctest.Wait()
		want := schedule.Stats{Size: 2, Busy: 2, Queued: 3, Overruns: 1}
		want.Done[schedule.Arrival], want.Done[schedule.Deliver] = 1, 1
		if s := p.Stats(); s != want {
			t.Errorf("stats %+v, want %+v", s, want)
		}
		time.Sleep(time.Minute)
		want.Busy, want.Queued = 0, 0
		want.Done[schedule.Arrival], want.Done[schedule.Poll] = 3, 1
		want.Waited[schedule.Arrival], want.Waited[schedule.Poll] = 3*time.Second, time.Second // the second of a waits 1 s, the third 2 s
		if s := p.Stats(); s != want {
			t.Errorf("stats %+v, want %+v", s, want)
		}
	})
}

// Many keys that always have work get the same share, whatever they queue.
func TestFairness(t *testing.T) {
	for _, size := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			p, ctx, stop := running(t, schedule.Options{Size: size, Queue: 10_000})
			defer stop()
			var mu sync.Mutex
			ran := map[string]int{}
			for k := range 50 {
				key := fmt.Sprint("device ", k)
				for range 20 + 100*(k%2) {
					must(t, p.Do(ctx, key, schedule.Arrival, func(context.Context) {
						time.Sleep(time.Millisecond)
						mu.Lock()
						defer mu.Unlock()
						ran[key]++
					}))
				}
			}
			time.Sleep(time.Duration(10*50/size) * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			least, most := 1000, 0
			for k := range 50 {
				n := ran[fmt.Sprint("device ", k)]
				least, most = min(least, n), max(most, n)
			}
			if most-least > 2 || least < 8 {
				t.Errorf("%d workers: %d to %d jobs of a key", size, least, most)
			}
		})
	}
}

// Between the moment in which a job is the next of its key and its start, no other key has more than a turn, whoever floods and
// whoever comes back at once; polls, which may have to wait for the one before, are passed by no other poll twice.
func TestNobodyIsPassedTwice(t *testing.T) {
	for _, size := range []int{1, 2, 5} {
		seed := rand.Uint64()
		t.Logf("%d workers, seed %d", size, seed)
		synctest.Test(t, func(t *testing.T) {
			p, ctx, stop := running(t, schedule.Options{Size: size, Queue: 10_000})
			var all sync.WaitGroup
			defer all.Wait()
			defer stop()
			random := rand.New(rand.NewPCG(seed, uint64(size)))
			turns := &turns{waits: map[string]map[string]int{}, queued: map[string]int{}}
			for k := range 12 {
				key, class := fmt.Sprint(k), schedule.Class(k%3)
				took, pause := time.Duration(1+random.IntN(5))*time.Millisecond, time.Duration(random.IntN(3)*k)*time.Millisecond
				for range 1 + 7*(k%2) { // every second one has eight jobs open, as a device that floods
					all.Go(func() {
						for ctx.Err() == nil {
							done := make(chan struct{})
							turns.queue(key)
							if p.Do(ctx, key, class, func(context.Context) {
								turns.begin(key)
								time.Sleep(took)
								turns.end(key)
								close(done)
							}) != nil {
								return
							}
							select {
							case <-done:
							case <-ctx.Done():
							}
							time.Sleep(pause)
						}
					})
				}
			}
			time.Sleep(20 * time.Second)
			turns.mu.Lock()
			defer turns.mu.Unlock()
			if turns.ran < 1000 || turns.passed > 0 {
				t.Errorf("%d workers: %d jobs ran; %d times a key was passed by another one again and again", size, turns.ran, turns.passed)
			}
		})
	}
}

// turns counts, for each key with a job that may run next, the turns of the others.
type turns struct {
	mu          sync.Mutex
	waits       map[string]map[string]int // guarded by mu: turns of others since the key's job is the next
	queued      map[string]int            // guarded by mu
	ran, passed int                       // guarded by mu
}

// passes of one key that are none: one that is fair, and one in the instant between our note and the pool's.
const passes = 2

func (c *turns) queue(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queued[key]++; c.queued[key] == 1 {
		c.waits[key] = map[string]int{}
	}
}

func (c *turns) begin(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran++
	delete(c.waits, key)
	for other, seen := range c.waits {
		if seen[key]++; seen[key] > passes && (polled(key) || !polled(other)) {
			c.passed++
		}
	}
}

func (c *turns) end(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queued[key]--; c.queued[key] > 0 {
		c.waits[key] = map[string]int{}
	}
}

// polled says whether the jobs of a key are polls, see TestNobodyIsPassedTwice.
func polled(key string) bool {
	k, err := strconv.Atoi(key)
	return err == nil && schedule.Class(k%3) == schedule.Poll
}

// Several that wait for room come in as there is some, each within its own context, and none is lost or run twice.
func TestFullQueueWithSeveralWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 1, Queue: 2})
		defer stop()
		block := make(chan struct{})
		must(t, p.Do(ctx, "first", schedule.Arrival, func(context.Context) { <-block }))
		synctest.Wait()
		var ran, refused atomic.Int64
		for i := range 20 {
			mine, cancel := context.WithTimeout(ctx, time.Duration(1+i%2)*time.Hour)
			defer cancel()
			go func() {
				err := p.Do(mine, fmt.Sprint(i), schedule.Arrival, func(context.Context) { ran.Add(1) })
				if errors.Is(err, context.DeadlineExceeded) {
					refused.Add(1)
				} else if err != nil {
					t.Errorf("Do = %v", err)
				}
			}()
		}
		time.Sleep(90 * time.Minute)
		if s := p.Stats(); s.Queued != 2 {
			t.Errorf("queued %d, want 2", s.Queued)
		}
		gone := refused.Load()
		if gone < 8 || gone > 10 {
			t.Errorf("%d of the 10 with an hour were refused", gone)
		}
		close(block)
		time.Sleep(time.Second)
		if ran.Load()+gone != 20 || refused.Load() != gone {
			t.Errorf("ran %d, refused %d of 20", ran.Load(), refused.Load())
		}
	})
}

// Sizes and queues come and go under load: every job runs once, those of a key in their order.
func TestResizeLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 3, Queue: 40})
		defer stop()
		const keys, each = 7, 300
		ran := make([][]int, keys) // each is its key's own: never two jobs of one
		for k := range keys {
			go func() {
				for n := range each {
					must(t, p.Do(ctx, fmt.Sprint(k), schedule.Class(n%3), func(context.Context) {
						time.Sleep(time.Millisecond)
						ran[k] = append(ran[k], n)
					}))
				}
			}()
		}
		for i := range 200 {
			p.Resize(schedule.Options{Size: 1 + i*5%8, Queue: 1 + i*13%50})
			time.Sleep(3 * time.Millisecond)
		}
		p.Resize(schedule.Options{Size: 2, Queue: 5})
		time.Sleep(time.Minute)
		for k := range ran {
			if len(ran[k]) != each || !slices.IsSorted(ran[k]) {
				t.Errorf("key %d: %d of %d jobs ran, sorted: %t", k, len(ran[k]), each, slices.IsSorted(ran[k]))
			}
		}
		if s := p.Stats(); s.Size != 2 || s.Busy != 0 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// No job that may run waits while a worker is free, whatever came, ended and was resized before, each in any order.
func TestNoJobWaitsBesideAFreeWorker(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(1, seed))
	synctest.Test(t, func(t *testing.T) {
		size := 3
		p, ctx, stop := running(t, schedule.Options{Size: size, Queue: 1000})
		defer stop()
		type job struct {
			class schedule.Class
			end   chan struct{}
		}
		var lines [6][]*job // by key: those that have not ended, the oldest first
		var begun sync.Map  // of *job
		runs := func(k int) bool {
			if len(lines[k]) == 0 {
				return false
			}
			_, ok := begun.Load(lines[k][0])
			return ok
		}
		look := func() (busy, polls int, may bool) {
			synctest.Wait()
			for k, l := range lines {
				if runs(k) {
					busy++
				}
				if runs(k) && l[0].class == schedule.Poll {
					polls++
				}
			}
			for k, l := range lines {
				may = may || len(l) > 0 && !runs(k) && (l[0].class != schedule.Poll || size == 1 || polls < size-1)
			}
			return busy, polls, may
		}
		for step := range 3000 {
			for range 1 + rnd.IntN(3) { // what happens at once
				k := rnd.IntN(len(lines))
				switch {
				case runs(k) && rnd.IntN(2) == 0:
					close(lines[k][0].end)
					lines[k] = lines[k][1:]
				case rnd.IntN(20) == 0:
					size = 1 + rnd.IntN(4)
					p.Resize(schedule.Options{Size: size, Queue: 1000})
				case len(lines[k]) < 5:
					j := &job{class: schedule.Class(rnd.IntN(3)), end: make(chan struct{})}
					lines[k] = append(lines[k], j)
					must(t, p.Do(ctx, fmt.Sprint(k), j.class, func(context.Context) {
						begun.Store(j, true)
						<-j.end
					}))
				}
			}
			if busy, polls, may := look(); busy < size && may {
				t.Errorf("step %d: a job waits beside %d busy workers of %d, %d of them with polls", step, busy, size, polls)
				break
			}
		}
		for _, l := range lines {
			for _, j := range l {
				close(j.end)
			}
		}
		synctest.Wait()
	})
}

// As many jobs run at once, and wait, as the newest size and queue say.
func TestResizeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 4, Queue: 10})
		defer stop()
		var waiting atomic.Int64 // for room
		for i := range 300 {
			waiting.Add(1)
			go func() {
				must(t, p.Do(ctx, fmt.Sprint(i), schedule.Arrival, func(context.Context) { time.Sleep(time.Second) }))
				waiting.Add(-1)
			}()
		}
		for _, c := range []schedule.Options{{Size: 2, Queue: 3}, {Size: 6, Queue: 20}, {Size: 1, Queue: 1}} {
			p.Resize(c)
			time.Sleep(20500 * time.Millisecond) // what was too much has gone
			synctest.Wait()                      // jobs end in this very instant, and others begin
			if s := p.Stats(); s.Busy != c.Size || s.Queued != c.Queue || waiting.Load() == 0 {
				t.Errorf("%+v: %+v, %d wait for room", c, s, waiting.Load())
			}
		}
		p.Resize(schedule.Options{Size: 50, Queue: 50})
		time.Sleep(time.Minute)
	})
}

// Polls that hang hold no more than all but one, whatever the pool was before.
func TestResizeKeepsTheLastWorkerFromPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, stop := running(t, schedule.Options{Size: 4, Queue: 10})
		frozen := make(chan struct{})
		for _, key := range []string{"a", "b", "c"} {
			must(t, p.Do(ctx, key, schedule.Poll, func(context.Context) { <-frozen }))
		}
		synctest.Wait()
		for _, size := range []int{2, 1} {
			p.Resize(schedule.Options{Size: size, Queue: 10})
			ran := false
			must(t, p.Do(ctx, "listener", schedule.Arrival, func(context.Context) { ran = true }))
			synctest.Wait()
			if !ran {
				t.Fatalf("size %d: frozen polls hold every worker", size)
			}
		}
		close(frozen)
		synctest.Wait()
		var busy, most int // one worker
		for i := range 5 {
			must(t, p.Do(ctx, fmt.Sprint(i), schedule.Arrival, func(context.Context) {
				busy++
				most = max(most, busy)
				time.Sleep(time.Second)
				busy--
			}))
		}
		time.Sleep(time.Minute)
		stop()
		if most != 1 {
			t.Errorf("%d jobs at once, want 1", most)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
