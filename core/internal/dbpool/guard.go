package dbpool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

const (
	maxWaiting = 1024 // requests of one holder that wait; more are refused as busy
	maxGroup   = 500  // rows in one group of writes, unless a single call has more
	maxShare   = 2    // calls of one holder in it, while others ask too: they wait for all of it
)

// memory is how long a sink that has asked counts as one that asks.
const memory = 10 * time.Minute

// guard decides who is served when. Requests wait in a line per holder; a freed place goes to the holder with
// the fewest leases, then to the one that was served longest ago, so that no holder can crowd out another.
type guard struct {
	allow func() error // why nothing can be sent now; asked with mu held

	mu      sync.Mutex
	places  int // guarded by mu: in the wide lane
	perSink int // guarded by mu: most of them for one holder, where there is more than one; 0: see mayTake
	lines   map[string]*line
	leases  map[*lease]struct{} // guarded by mu
	sinks   int                 // guarded by mu: holders that asked for a Store
	idle    [2][]chan *lease    // guarded by mu: workers that wait, by lane; the one that came last is served first
	waiting [2]int              // guarded by mu: requests that wait, by lane
	served  uint64              // guarded by mu: counts requests served, to order the holders
	stopped bool                // guarded by mu
	workers [2]int              // guarded by mu, by lane: workers that have not ended and are not abandoned
	ended   chan struct{}       // closed when the guard has stopped and the last worker ended
	waits   uint64              // guarded by mu: requests that found no free place
	waited  time.Duration       // guarded by mu: how long those waited
	lost    uint64              // guarded by mu: leases abandoned
	commits uint64              // guarded by mu
	written uint64              // guarded by mu: writes that were committed
	repeats uint64              // guarded by mu: transactions run again after a conflict
}

// lane is a line of connections. Everything goes by the wide one, but the writes of a database that takes one writer.
type lane int

const (
	wide   lane = iota
	narrow      // one place, whose lease has a group of writes
)

// line is what one holder waits for and has; guarded by the guard's mu.
type line struct {
	holder string
	jobs   [2][]*job // by lane, oldest first
	inUse  [2]int    // jobs begun and not answered, by lane
	writes int       // of them, writes
	served uint64
	asked  [2]time.Time // when its newest request came, by lane
}

// job is one request of a caller, from its queueing to its answer.
type job struct {
	line      *line
	lane      lane
	statement string
	rows      int
	since     time.Time
	begun     bool                         // guarded by guard.mu: it has left its line for a lease
	crowded   bool                         // no place was free when it came
	run       func(w *worker) (any, error) // a read
	call      *call                        // a write

	done chan struct{} // closed when out and err are set
	out  any
	err  error
}

// lease is a place in use: a read, or the group of writes that share a transaction.
type lease struct {
	jobs      []*job
	since     time.Time
	cancel    context.CancelFunc // guarded by guard.mu
	link      *link              // guarded by guard.mu: the connection to a server that it has now, or nil
	last      *link              // the newest of them, also when it was given back; belongs to its worker
	cut       time.Time          // guarded by guard.mu: when the housekeeper cancelled it; zero is not yet
	abandoned bool               // guarded by guard.mu: its worker must end
}

func newGuard(places, perSink int, allow func() error) *guard {
	return &guard{places: places, perSink: perSink, allow: allow, lines: map[string]*line{}, leases: map[*lease]struct{}{}, ended: make(chan struct{})}
}

// join makes a sink known.
func (g *guard) join(holder string) *line {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[holder]
	if l == nil {
		l = &line{holder: holder}
		g.lines[holder] = l
		g.sinks++
	}
	return l
}

// host is the line of the host's own requests. It is kept under a name that no sink can have.
func (g *guard) host() *line {
	l := &line{holder: hostName}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines[""] = l
	return l
}

// do queues the job and waits for its answer, at most acquire for its begin and until ctx ends. Once begun, it ends
// with its operation, which the worker bounds in time, or when it is abandoned.
func (g *guard) do(ctx context.Context, j *job, acquire time.Duration) (any, error) {
	j.done, j.since = make(chan struct{}), time.Now()
	if err := g.push(ctx, j); err != nil {
		return nil, err
	}
	var late <-chan time.Time // never, where it has begun
	if j.crowded {
		timer := time.NewTimer(acquire)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-j.done:
			return j.out, j.err
		case <-ctx.Done():
			return g.leave(ctx, j)
		case <-late:
			if g.withdraw(j) {
				return nil, g.busy(j, acquire)
			}
			late = nil
		}
	}
}

// leave is called when the caller's ctx ends before the answer. A read is told to end by the same ctx, so its answer is
// awaited; a write that has begun goes on without its caller, who cannot know what becomes of it.
func (g *guard) leave(ctx context.Context, j *job) (any, error) {
	if g.withdraw(j) {
		return nil, sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("%s: gave up before it was sent: %w", j.statement, ctx.Err()))
	}
	if j.call == nil {
		<-j.done
		return j.out, j.err
	}
	select {
	case <-j.done:
		return j.out, j.err
	default:
		return nil, sdk.WithClass(sdk.ClassUnknown, fmt.Errorf("%s: gave up while it was being written: %w", j.statement, ctx.Err()))
	}
}

func (g *guard) push(ctx context.Context, j *job) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped:
		return sdk.WithClass(sdk.ClassUnavailable, ErrStopped)
	case ctx.Err() != nil:
		return sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("%s: not sent: %w", j.statement, ctx.Err()))
	case len(j.line.jobs[j.lane]) >= maxWaiting:
		return sdk.WithClass(sdk.ClassBusy, fmt.Errorf("%s: %d requests of %s wait already: %w", j.statement, maxWaiting, j.line.holder, ErrBusy))
	}
	if err := g.allow(); err != nil {
		return fmt.Errorf("%s: %w", j.statement, err)
	}
	j.line.jobs[j.lane] = append(j.line.jobs[j.lane], j)
	j.line.asked[j.lane] = j.since
	g.waiting[j.lane]++
	g.deal(j.lane)
	j.crowded = !j.begun
	return nil
}

// deal gives what may begin to a worker that waits, if there are both; g.mu is held.
func (g *guard) deal(k lane) {
	last := len(g.idle[k]) - 1
	if last < 0 {
		return
	}
	if l := g.lease(k); l != nil {
		g.idle[k][last] <- l
		g.idle[k] = g.idle[k][:last]
	}
}

// withdraw takes a job that has not begun out of its line, so that no place is ever given to a caller who left.
func (g *guard) withdraw(j *job) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.Index(j.line.jobs[j.lane], j)
	if at < 0 {
		return false
	}
	j.line.jobs[j.lane] = slices.Delete(j.line.jobs[j.lane], at, at+1)
	g.waiting[j.lane]--
	g.countWait(j)
	return true
}

func (g *guard) countWait(j *job) {
	if j.crowded {
		g.waits++
		g.waited += time.Since(j.since)
	}
}

// busy tells a caller who holds what it waited for.
func (g *guard) busy(j *job, acquire time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	who := describe(g.holders(), allHolders)
	if who == "" {
		who = "nobody; the pool is not running"
	}
	return sdk.WithClass(sdk.ClassBusy, fmt.Errorf("%s: waited %s; held by %s: %w", j.statement, acquire, who, ErrBusy))
}

// take waits for the next lease, on the worker's own channel, which has room for one. It returns nil when the guard has
// stopped and nothing waits any more, and when there are too many workers.
func (g *guard) take(k lane, turn chan *lease) *lease {
	g.next(k, turn)
	return <-turn
}

// next has the next lease sent, now or when there is one.
func (g *guard) next(k lane, turn chan *lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped || g.tooMany(k) {
		g.end(k)
		turn <- nil
	} else if l := g.lease(k); l != nil {
		turn <- l
	} else {
		g.idle[k] = append(g.idle[k], turn)
	}
}

// lease makes one of what waits, or is nil; g.mu is held.
func (g *guard) lease(k lane) *lease {
	if g.waiting[k] == 0 {
		return nil
	}
	jobs := g.pick(k)
	if len(jobs) == 0 {
		return nil
	}
	l := &lease{jobs: jobs, since: time.Now()}
	g.leases[l] = struct{}{}
	return l
}

// tooMany says that a worker of the lane may end: the pool was made smaller. g.mu is held.
func (g *guard) tooMany(k lane) bool { return k == wide && g.workers[k] > g.places }

// resize changes the places of the wide lane. Workers that are too many end, those with a lease after it.
func (g *guard) resize(places, perSink int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.places, g.perSink = places, perSink
	for g.tooMany(wide) && len(g.idle[wide]) > 0 {
		g.dismiss(wide)
	}
	for range g.idle[wide] { // one holder may have more now
		g.deal(wide)
	}
}

// dismiss ends a worker that waits; g.mu is held.
func (g *guard) dismiss(k lane) {
	last := len(g.idle[k]) - 1
	g.idle[k][last] <- nil
	g.idle[k] = g.idle[k][:last]
	g.workers[k]--
}

// missing is how many workers the lane lacks of want.
func (g *guard) missing(k lane, want int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(want-g.workers[k], 0)
}

// pick takes the jobs of the next lease from their lines; g.mu is held.
func (g *guard) pick(k lane) (jobs []*job) {
	rows := 0
	for {
		l := g.first(k)
		if l == nil || len(jobs) > 0 && rows+l.jobs[k][0].rows > maxGroup {
			return jobs
		}
		j := l.jobs[k][0]
		l.jobs[k] = slices.Delete(l.jobs[k], 0, 1)
		l.inUse[k]++
		if j.call != nil {
			l.writes++
		}
		g.served++
		l.served = g.served
		g.waiting[k]--
		j.begun = true
		g.countWait(j)
		jobs, rows = append(jobs, j), rows+j.rows
		if k == wide {
			return jobs
		}
	}
}

// mayTake says whether the next request of the line may be served: fewer at a time while others ask too, for what one has under
// way takes the time of all, even where places are free. g.mu is held.
func (g *guard) mayTake(l *line, k lane, shared bool) bool {
	most := maxGroup
	switch {
	case k == narrow && shared:
		most = maxShare
	case k == narrow:
	case shared && l.jobs[k][0].call != nil && l.writes > 0:
		return false // each commit waits for those that are under way
	case g.sinks < 2:
		most = g.places
	case g.perSink > 0:
		most = g.perSink
	case shared:
		most = max(g.places/2, 1)
	default:
		most = max(g.places-1, 1)
	}
	return l.inUse[k] < most
}

// shared says that more than one sink asks; g.mu is held.
func (g *guard) shared(k lane) bool {
	var newest time.Time
	for _, l := range g.lines {
		if l.holder != hostName && l.asked[k].After(newest) {
			newest = l.asked[k]
		}
	}
	asking := 0
	for _, l := range g.lines {
		if l.holder != hostName && newest.Sub(l.asked[k]) < memory {
			asking++
		}
	}
	return asking > 1
}

// first is the line whose turn it is; g.mu is held.
func (g *guard) first(k lane) (best *line) {
	shared := g.shared(k)
	for _, l := range g.lines {
		if len(l.jobs[k]) == 0 || !g.mayTake(l, k, shared) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(l.inUse[k], best.inUse[k]), cmp.Compare(l.served, best.served)) < 0 {
			best = l
		}
	}
	return best
}

// mayCancel tells the housekeeper how to end what the lease is for.
func (g *guard) mayCancel(l *lease, cancel context.CancelFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.cancel = cancel
}

// own tells the housekeeper which connection the lease has, or that it has none any more.
func (g *guard) own(l *lease, k *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.link = k
	if k != nil && !l.cut.IsZero() {
		k.cut()
	}
}

// give ends a lease: answers has one for each of its jobs. It returns false when the lease was abandoned: the callers
// have their answer, and the worker must end, for another one stands in its place. kept is a connection that was not
// given back before.
func (g *guard) give(l *lease, answers []answer) (goOn bool, kept *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.abandoned {
		return false, nil
	}
	g.drop(l, answers)
	return true, l.link
}

type answer struct {
	out any
	err error
}

// drop frees the place and answers the callers; g.mu is held.
func (g *guard) drop(l *lease, answers []answer) {
	delete(g.leases, l)
	for i, j := range l.jobs {
		j.line.inUse[j.lane]--
		if j.call != nil {
			j.line.writes--
		}
		j.out, j.err = answers[i].out, answers[i].err
		close(j.done)
	}
}

// stop refuses what comes, and what waits.
func (g *guard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.stopped = true
	for _, l := range g.lines {
		for k := range l.jobs {
			for _, j := range l.jobs[k] {
				j.err = sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("%s: not sent: %w", j.statement, ErrStopped))
				close(j.done)
			}
			l.jobs[k] = nil
			g.waiting[k] = 0
		}
	}
	for k := range g.idle {
		for len(g.idle[k]) > 0 {
			g.dismiss(lane(k))
		}
	}
	g.closeEnded()
}

// begin counts a worker that is about to start; false when the guard has stopped.
func (g *guard) begin(k lane) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return false
	}
	g.workers[k]++
	return true
}

// end counts a worker that ends; g.mu is held.
func (g *guard) end(k lane) {
	g.workers[k]--
	g.closeEnded()
}

// closeEnded is called with g.mu held, after a worker has ended or the guard was stopped.
func (g *guard) closeEnded() {
	if g.stopped && g.workers == [2]int{} {
		close(g.ended)
	}
}
