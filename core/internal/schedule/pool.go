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

// maxQueue is the most of Options.Queue.
const maxQueue = 1 << 16

// Options of a pool. Size and Queue are at least 1, Queue at most 65,536.
type Options struct {
	Size  int // workers
	Queue int // jobs that wait, over all devices; more make Do wait
}

func (o Options) bounded() Options {
	return Options{Size: max(o.Size, 1), Queue: min(max(o.Queue, 1), maxQueue)}
}

// Pool runs jobs, never two of one key at once, in the order of arrival within a key and in turn between keys.
type Pool struct {
	room    chan struct{} // one for each job that may still be queued
	resized chan struct{} // capacity 1: more workers are wanted
	ended   chan struct{} // closed when the pool stops

	mu      sync.Mutex
	opt     Options          // guarded by mu
	debt    int              // guarded by mu: jobs that wait beyond a queue that was made shorter; their room goes
	live    int              // guarded by mu: workers that have not ended
	named   int              // guarded by mu: workers begun ever
	wake    *sync.Cond       // on mu: a job came, a poll ended, or the pool stops; who ends another job looks for the next one by itself
	lines   map[string]*line // guarded by mu: keys with jobs that wait or run
	ring    []*line          // guarded by mu: lines with waiting jobs, the next one first
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
	p := &Pool{room: make(chan struct{}, maxQueue), resized: make(chan struct{}, 1), ended: make(chan struct{}), lines: map[string]*line{}}
	p.wake = sync.NewCond(&p.mu)
	p.Resize(o)
	return p
}

// Resize changes the number of workers and the length of the queue, also while Run runs. No job is lost: workers that are
// too many end after theirs, and a queue that is too long takes no more until it is shorter.
func (p *Pool) Resize(o Options) {
	o = o.bounded()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range o.Queue - p.opt.Queue {
		p.addRoom()
	}
	for range p.opt.Queue - o.Queue {
		select {
		case <-p.room:
		default:
			p.debt++
		}
	}
	p.opt, p.stats.Size = o, o.Size
	p.wake.Broadcast()
	select {
	case p.resized <- struct{}{}:
	default:
	}
}

// addRoom lets one more job be queued, unless there are too many already; p.mu is held.
func (p *Pool) addRoom() {
	if p.debt > 0 {
		p.debt--
		return
	}
	p.room <- struct{}{} // never full: there are opt.Queue of them at most
}

// Run works until ctx ends or a job panics, and then waits for the jobs that run. Jobs that still wait are dropped:
// whoever waits for their effect must watch the same ctx. A panic is a bug of the host's own, since those who queue a
// job guard what they call in it: it is Run's error at once, rather than a pool that loses its workers unseen.
// Run is called once.
func (p *Pool) Run(ctx context.Context) error {
	g := life.NewGroup(ctx)
	for {
		p.hire(g)
		select {
		case <-p.resized:
			continue
		case <-ctx.Done():
		case <-g.Failed(): //nolint:errcheck // Wait gives it
		}
		g.Cancel()
		p.stop()
		return g.Wait()
	}
}

// hire begins the workers that are missing.
func (p *Pool) hire(g *life.Group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.live < p.opt.Size; p.live++ {
		p.named++
		g.Go("worker "+strconv.Itoa(p.named), p.work)
	}
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
	case <-p.room:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ended:
		return ErrStopped
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
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
		if p.stopped || p.tooMany() {
			p.live--
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

// tooMany says that a worker without a job may end. One stays that no poll holds, until a poll ends: see Poll.
func (p *Pool) tooMany() bool { return p.live > p.opt.Size && p.live-p.polls > 1 }

// pick finds the first line whose first job may run. With more jobs it goes to the end of the ring, and those that were passed over
// stay where they are: nobody is passed by another one twice.
func (p *Pool) pick() *line {
	for at, l := range p.ring {
		if l.busy || (l.jobs[0].class == Poll && p.opt.Size > 1 && p.polls >= p.opt.Size-1) {
			continue
		}
		p.ring = slices.Delete(p.ring, at, at+1)
		if len(l.jobs) > 1 {
			p.ring = append(p.ring, l)
		}
		return l
	}
	return nil
}

func (p *Pool) begun(j job) {
	p.addRoom()
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
	if j.class == Poll {
		p.wake.Broadcast() // a poll that waited may run, too, and a worker may end
	}
}
