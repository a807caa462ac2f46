package main

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"time"
)

// plan gives out the messages of an instrument, to all of its lines, and counts what became of them.
type plan struct {
	instrument instrument
	count      int           // 0 is no end
	rate       float64       // messages a second on all lines; 0 is as fast as they go
	every      time.Duration // between two messages
	ways       []string      // in which they misbehave, in turn
	tell       io.Writer     // gets a line for each that was acknowledged, where they are numbered
	began      time.Time
	more       chan struct{} // capacity 1; where it is there, produce adds to count, and the end is never

	mu     sync.Mutex
	given  int         // guarded by mu, as all that follows
	large  map[int]int // sizes that are not the instrument's
	report report
}

// produce adds n messages, of size bytes at least where it is not 0.
func (p *plan) produce(n, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		if size > 0 {
			p.large = map[int]int{p.count + i + 1: size}
		}
	}
	p.count += n
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// number gives out the number of the next message, and its size; 0 where there is none now.
func (p *plan) number() (n, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == p.count && (p.count > 0 || p.more != nil) {
		return 0, 0
	}
	p.given++
	p.report.sent++
	return p.given, max(p.instrument.size, p.large[p.given])
}

// report is what became of the messages.
type report struct {
	sent, acknowledged, negative, parked, resent int
	took                                         time.Duration
	latency                                      histogram
}

// next is the next message when it is due; nil where there are no more, or ctx has ended.
func (p *plan) next(ctx context.Context) (*call, error) {
	n, size := p.number()
	for n == 0 {
		if p.more == nil {
			return nil, nil
		}
		select {
		case <-p.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n, size = p.number()
	}
	due := time.Duration(n-1) * p.every
	if p.rate > 0 {
		due = time.Duration(float64(n-1) / p.rate * float64(time.Second))
	}
	if pause := time.Until(p.began.Add(due)); due > 0 && pause > 0 {
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
	c := &call{n: n, id: p.instrument.control(n), way: p.ways[(n-1)%len(p.ways)]}
	if c.way == control && n > 1 {
		c.id = p.instrument.control(n - 1)
	}
	c.frame = vt + string(p.instrument.message(n, size, c.id)) + fs + cr
	return c, nil
}

// acknowledged counts a message that is done. Where they are numbered it says so at once, with the line where there are several.
func (p *plan) acknowledged(c *call, line int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.acknowledged++
	if !p.instrument.numbered {
		return nil
	}
	said := "answered " + numberedID(c.n)
	if line > 0 {
		said += fmt.Sprint(" on ", line)
	}
	_, err := fmt.Fprintln(p.tell, said)
	return err
}

func (p *plan) answered(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.latency.add(after)
}

func (p *plan) negative() { p.add(func(r *report) { r.negative++ }) }
func (p *plan) parked()   { p.add(func(r *report) { r.parked++ }) }
func (p *plan) resent()   { p.add(func(r *report) { r.resent++ }) }

func (p *plan) add(change func(r *report)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.report)
}

// end is the report of all of it.
func (p *plan) end() report {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.took = time.Since(p.began)
	return p.report
}

// String is the report in one line of NAME=VALUE, times in ms.
func (r *report) String() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("sent=%d acknowledged=%d negative=%d parked=%d resent=%d seconds=%.3f rate=%.1f p50=%.3f p90=%.3f p99=%.3f max=%.3f",
		r.sent, r.acknowledged, r.negative, r.parked, r.resent, r.took.Seconds(), float64(r.acknowledged)/max(r.took.Seconds(), 1e-9),
		ms(r.latency.quantile(0.5)), ms(r.latency.quantile(0.9)), ms(r.latency.quantile(0.99)), ms(r.latency.most))
}

// histogram counts times with an error of 3 % at most.
type histogram struct {
	counts [32 * 32]int // by bucket of microseconds
	all    int
	most   time.Duration
}

func (h *histogram) add(d time.Duration) {
	us := uint32(min(max(d.Microseconds(), 0), 1<<32-1))
	e := max(bits.Len32(us)-6, 0)
	h.counts[e*32+int(us>>e)]++
	h.all++
	h.most = max(h.most, d)
}

// quantile is the time that the part q of all took at most, 0 where there is none.
func (h *histogram) quantile(q float64) time.Duration {
	left := q * float64(h.all)
	for i, n := range h.counts {
		if left -= float64(n); n > 0 && left <= 0 {
			e := max(i/32-1, 0)
			return min(time.Duration(i-e*32)<<e*time.Microsecond, h.most)
		}
	}
	return h.most
}
