// Package schedule decides what runs when: a bounded pool of workers, fair between devices, and the times at which a
// polled device is due.
//
//	device -> supervise -> [ schedule ] -> route -> spool -> dispatch -> sink
package schedule

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// Class of a job.
type Class int

// Classes of jobs. Polls never take the last worker of a pool of two or more, so that a frozen polled device cannot
// stop listeners and deliveries.
const (
	Poll    Class = iota // a polled device is being read
	Arrival              // a batch is checked and routed
	Deliver              // a delivery is prepared
	classes
)

// ErrStopped is returned for a job that comes after the pool's end.
var ErrStopped = errors.New("worker pool has stopped")

// Options of a pool. Size and Queue are at least 1.
type Options struct {
	Size  int // workers
	Queue int // jobs that wait, over all devices; more make Do wait
}

// Pool runs jobs, never two of one key at once, in the order of arrival within a key and in turn between keys.
type Pool struct {
	opt   Options
	slots chan struct{} // one for each waiting job
	ended chan struct{} // closed when the pool stops

	mu      sync.Mutex
	wake    *sync.Cond       // on mu: a job came, a key or a poll ended, or the pool stops
	lines   map[string]*line // guarded by mu: keys with jobs that wait or run
	ring    []*line          // guarded by mu: lines with waiting jobs, in turn
	turn    int              // guarded by mu
	polls   int              // guarded by mu: running jobs of class Poll
	stats   Stats            // guarded by mu
	stopped bool             // guarded by mu
}

// line is what waits of one key; guarded by the pool's mu.
type line struct {
	key  string
	jobs []job
	busy bool
}

type job struct {
	class Class
	since time.Time
	run   func(ctx context.Context)
}

// Stats is a snapshot of a pool.
type Stats struct {
	Size, Busy, Queued int
	Done               [classes]uint64        // jobs begun, by class
	Waited             [classes]time.Duration // total time in the queue, by class
	Overruns           uint64                 // polls that were due while the last one still ran
}

// New makes a pool; Run starts it.
func New(o Options) *Pool {
	o.Size, o.Queue = max(o.Size, 1), max(o.Queue, 1)
	p := &Pool{opt: o, slots: make(chan struct{}, o.Queue), ended: make(chan struct{}), lines: map[string]*line{}}
	p.wake = sync.NewCond(&p.mu)
	p.stats.Size = o.Size
	return p
}

// Run works until ctx ends or a job panics, and then waits for the jobs that run. Jobs that still wait are dropped:
// whoever waits for their effect must watch the same ctx. A panic is a bug of the host's own, since those who queue a
// job guard what they call in it: it is Run's error at once, rather than a pool that loses its workers unseen.
// Run is called once.
func (p *Pool) Run(ctx context.Context) error {
	g := life.NewGroup(ctx)
	for i := range p.opt.Size {
		g.Go("worker "+strconv.Itoa(i), p.work)
	}
	select {
	case <-ctx.Done():
	case <-g.Failed(): //nolint:errcheck // Wait gives it
	}
	g.Cancel()
	p.stop()
	return g.Wait()
}

func (p *Pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	close(p.ended)
	p.wake.Broadcast()
}

// Do queues a job and returns; it blocks while the queue is full. An error means that the job will not run: ctx ended
// or the pool has stopped. The job's ctx is the pool's.
func (p *Pool) Do(ctx context.Context, key string, class Class, run func(ctx context.Context)) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ended:
		return ErrStopped
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		<-p.slots
		return ErrStopped
	}
	l := p.lines[key]
	if l == nil {
		l = &line{key: key}
		p.lines[key] = l
	}
	if len(l.jobs) == 0 {
		p.ring = append(p.ring, l)
	}
	l.jobs = append(l.jobs, job{class: class, since: time.Now(), run: run})
	p.stats.Queued++
	p.wake.Signal()
	return nil
}

// Overrun counts a poll that was due while the last one still ran.
func (p *Pool) Overrun() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Overruns++
}

// Stats gives a snapshot.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

func (p *Pool) work(ctx context.Context) error {
	for {
		l, j, ok := p.next()
		if !ok {
			return nil
		}
		err := life.Call(func() error { j.run(ctx); return nil })
		p.finished(l, j)
		if err != nil {
			return err // see Run
		}
	}
}

// next waits for a job that may run now.
func (p *Pool) next() (*line, job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.stopped {
			return nil, job{}, false
		}
		if l := p.pick(); l != nil {
			j := l.jobs[0]
			l.jobs = slices.Delete(l.jobs, 0, 1)
			l.busy = true
			p.begun(j)
			return l, j, true
		}
		p.wake.Wait()
	}
}

// pick finds the next line in turn whose first job may run, and takes it off the ring when it was its last one.
func (p *Pool) pick() *line {
	for i := range p.ring {
		at := (p.turn + i) % len(p.ring)
		l := p.ring[at]
		if l.busy || (l.jobs[0].class == Poll && p.opt.Size > 1 && p.polls >= p.opt.Size-1) {
			continue
		}
		p.turn = at + 1
		if len(l.jobs) == 1 {
			p.ring = slices.Delete(p.ring, at, at+1)
			p.turn = at
		}
		return l
	}
	return nil
}

func (p *Pool) begun(j job) {
	<-p.slots
	p.stats.Queued--
	p.stats.Busy++
	p.stats.Done[j.class]++
	p.stats.Waited[j.class] += time.Since(j.since)
	if j.class == Poll {
		p.polls++
	}
}

func (p *Pool) finished(l *line, j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.busy = false
	p.stats.Busy--
	if j.class == Poll {
		p.polls--
	}
	if len(l.jobs) == 0 {
		delete(p.lines, l.key)
	}
	p.wake.Broadcast()
}
