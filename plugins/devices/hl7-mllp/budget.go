package main

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// budget is the memory that all connections share for what does not fit into their own small buffers. Who comes first is
// served first.
type budget struct {
	total int

	mu      sync.Mutex
	free    int       // guarded by mu
	waiters []*waiter // guarded by mu: in their order
}

// waiter is a connection that wants more than is free.
type waiter struct {
	held, more int
	answer     chan error // capacity 1
}

// errNoMemory ends a connection so that others can go on: its sender sends again.
var errNoMemory = errors.New("no memory for the message besides others: see memory_mb")

func newBudget(bytes int) *budget { return &budget{total: bytes, free: bytes} }

// take waits until more bytes are free for one that holds some already; both together are at most all there is. Where
// everything is held by those who wait, the one that holds the least has errNoMemory. Another error means that ctx ended.
func (b *budget) take(ctx context.Context, held, more int) error {
	w := &waiter{held: held, more: more, answer: make(chan error, 1)}
	b.change(func() { b.waiters = append(b.waiters, w) })
	select {
	case err := <-w.answer:
		return err
	case <-ctx.Done():
	}
	b.change(func() {
		b.remove(w)
		select {
		case err := <-w.answer: // it came before the end
			w.answer <- err
		default:
			w.answer <- ctx.Err()
		}
	})
	return <-w.answer
}

// give gives bytes back.
func (b *budget) give(n int) {
	if n > 0 {
		b.change(func() { b.free += n })
	}
}

// change does what f does, and answers those who have waited for that.
func (b *budget) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	for len(b.waiters) > 0 && b.waiters[0].more <= b.free {
		first := b.waiters[0]
		b.free -= first.more
		b.remove(first)
		first.answer <- nil
	}
	held := b.free
	var least *waiter // but the first one, which is the next to go on
	for i, w := range b.waiters {
		held += w.held
		if i > 0 && w.held > 0 && (least == nil || w.held < least.held) {
			least = w
		}
	}
	if held == b.total && least != nil { // nobody else will ever give
		b.remove(least)
		least.answer <- errNoMemory
	}
}

// remove takes w out of those who wait. The caller holds mu.
func (b *budget) remove(w *waiter) {
	b.waiters = slices.DeleteFunc(b.waiters, func(other *waiter) bool { return other == w })
}
