package cache

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// Brief is the ability of a load's error to be a value, which is kept for at most ttl and what GetOrLoad was asked for,
// whichever is less; with a ttl of 0 it goes to all who wait and is not kept. A load learns only from its answer that it
// holds for a short time.
type Brief interface {
	error
	Brief() (value []byte, ttl time.Duration)
}

// unwrap gives a load's value and life, of which longest is the bound.
func unwrap(value []byte, longest time.Duration, err error) ([]byte, time.Duration, error) {
	var b Brief
	if !errors.As(err, &b) {
		return value, longest, err
	}
	value, ttl := b.Brief()
	return value, min(ttl, longest), nil
}

// flight is one load that any number of callers wait for.
type flight struct {
	done     chan struct{} // closed when value and err are set
	value    []byte
	err      error
	disowned bool // guarded by Cache.mu: the key was dropped or put meanwhile, the value must not be kept
}

// GetOrLoad returns a copy of the value, and true when it was there; else it calls load, once for all who ask at the
// same time, and keeps what it returns like Put, its life counted from the start of the load. An error of load that is
// Brief is a value with a life of its own; any other goes to all of them and is not kept, and a panic in load is such an
// error. load runs under a context of its own, which ends with Run: a caller whose ctx ends leaves with ctx's error and
// the others get their answer. While Run is not there, load runs under the caller's ctx and nothing is shared or kept.
func (c *Cache) GetOrLoad(ctx context.Context, key Key, ttl time.Duration, load func(context.Context) ([]byte, error)) ([]byte, bool, error) {
	if v, ok := c.Get(key); ok {
		return v, true, nil
	}
	f, kept := c.join(key, ttl, load)
	if kept != nil {
		return kept, true, nil
	}
	if f == nil {
		c.loads.Add(1)
		v, err := load(ctx)
		v, _, err = unwrap(v, 0, err)
		return v, false, err
	}
	select {
	case <-f.done:
		return bytes.Clone(f.value), false, f.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// join returns the load under way of this key or begins it. A load that ended since the caller looked has left its
// value, which is returned instead. Both are nil while Run is not there.
func (c *Cache) join(key Key, ttl time.Duration, load func(context.Context) ([]byte, error)) (*flight, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group == nil {
		return nil, nil
	}
	if f := c.flights[key]; f != nil {
		return f, nil
	}
	if item := c.entries.Load().Get(key); item != nil {
		return nil, append([]byte{}, item.Value()...)
	}
	f := &flight{done: make(chan struct{})}
	c.flights[key] = f
	c.loads.Add(1)
	longest := c.limit(ttl)
	c.group.Go("load", func(ctx context.Context) error {
		c.fly(ctx, key, f, longest, load)
		return nil
	})
	return f, nil
}

// fly loads, keeps the value unless it was disowned, and lets the waiters go.
func (c *Cache) fly(ctx context.Context, key Key, f *flight, ttl time.Duration, load func(context.Context) ([]byte, error)) {
	begin := time.Now()
	f.err = life.Call(func() (err error) {
		f.value, err = load(ctx)
		return err
	})
	f.value, ttl, f.err = unwrap(f.value, ttl, f.err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.disowned {
		delete(c.flights, key)
		if f.err == nil {
			c.set(key, f.value, min(ttl-time.Since(begin), c.opt.TTL)) // the bound may be a shorter one by now
		}
	}
	close(f.done)
}
