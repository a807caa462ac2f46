// Package life starts and joins every goroutine of hostd, and holds its one recovery boundary.
//
// A goroutine belongs to a Group, which knows its name and waits for it; a panic becomes an error with its stack in
// Call, around one job, so that one device backs off and the host lives on.
package life

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// Panic is the error that Call makes of a panic.
type Panic struct {
	Value any    // what was panicked with
	Stack []byte // of the goroutine that panicked
}

// Error names the value without the stack, which may be long.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Call runs f and returns its error; a panic in f is returned as *Panic.
func Call(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// Group is a set of named goroutines with one context. The zero Group is not usable; make one with NewGroup.
type Group struct {
	ctx    context.Context // the group's own life, handed to each of its jobs
	cancel context.CancelFunc
	failed chan error
	done   sync.WaitGroup

	mu      sync.Mutex
	running map[int]string // guarded by mu: names by start number
	next    int            // guarded by mu
	errs    []error        // guarded by mu
}

// NewGroup makes a group whose context ends with parent or at Cancel.
func NewGroup(parent context.Context) *Group {
	ctx, cancel := context.WithCancel(parent)
	return &Group{ctx: ctx, cancel: cancel, failed: make(chan error, 1), running: map[int]string{}}
}

// Context ends when the group is cancelled.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f in a goroutine of the group. An error or a panic is kept for Wait and shown on Failed; it cancels nobody
// else. The end of the group's context is not an error.
func (g *Group) Go(name string, f func(ctx context.Context) error) {
	id := g.enter(name)
	g.done.Add(1)
	go func() {
		defer g.done.Done()
		err := Call(func() error { return f(g.ctx) })
		g.leave(id, name, err)
	}()
}

func (g *Group) enter(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next++
	g.running[g.next] = name
	return g.next
}

func (g *Group) leave(id int, name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.running, id)
	if err == nil || (g.ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return
	}
	err = fmt.Errorf("%s: %w", name, err)
	g.errs = append(g.errs, err)
	select {
	case g.failed <- err:
	default:
	}
}

// Failed gives the first error of the group, once.
func (g *Group) Failed() <-chan error { return g.failed }

// Cancel ends the group's context. It does not wait.
func (g *Group) Cancel() { g.cancel() }

// Wait blocks until every goroutine has ended and returns their errors joined.
func (g *Group) Wait() error {
	g.done.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// Stop cancels and waits until every goroutine has ended or ctx ends; then the error names those still running.
func (g *Group) Stop(ctx context.Context) error {
	g.cancel()
	ended := make(chan struct{})
	go func() { g.done.Wait(); close(ended) }()
	select {
	case <-ended:
		return g.Wait()
	case <-ctx.Done():
		return fmt.Errorf("stop: still running: %s", strings.Join(g.Running(), ", "))
	}
}

// Running names the goroutines that have not ended, sorted.
func (g *Group) Running() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := make([]string, 0, len(g.running))
	for _, n := range g.running {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
