package sdktest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// fault is what goes wrong with calls of store and cache.
type fault struct {
	class sdk.Class // classNone is an error without one
	nth   int       // which call fails, from 1; 0 is every one
	after bool      // it fails after it has done its work, which nobody hears of
}

// faults stands between a plugin and its store and cache, counts the calls, and fails them when told to.
type faults struct {
	store sdk.Store

	mu    sync.Mutex
	fault *fault            // guarded by mu; nil is none
	delay time.Duration     // guarded by mu: of every call
	calls int               // guarded by mu: since the fault
	wrote int               // guarded by mu: calls of Write
	cache map[string][]byte // guarded by mu
}

func newFaults(store sdk.Store) *faults { return &faults{store: store, cache: map[string][]byte{}} }

// fail makes calls fail from now on.
func (f *faults) fail(how fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.calls = &how, 0
}

// mend ends the failing, and says how many calls there were meanwhile.
func (f *faults) mend() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = nil
	return f.calls
}

// slow makes every call take a while.
func (f *faults) slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// call does a call's work, unless it fails.
func (f *faults) call(ctx context.Context, work func() error) error {
	delay, before, after := f.next()
	if delay > 0 {
		over := time.NewTimer(delay)
		defer over.Stop()
		select {
		case <-over.C:
		case <-ctx.Done():
			return sdk.WithClass(sdk.ClassUnavailable, ctx.Err())
		}
	}
	if before != nil {
		return before
	}
	if err := work(); err != nil {
		return err
	}
	return after
}

// next counts a call and says how it fails: before or after its work.
func (f *faults) next() (delay time.Duration, before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fault == nil || (f.fault.nth > 0 && f.fault.nth != f.calls) {
		return f.delay, nil, nil
	}
	err := errors.New("the suite lets it fail")
	if f.fault.class != sdk.ClassNone {
		err = sdk.WithClass(f.fault.class, err)
	}
	if f.fault.after {
		return f.delay, nil, err
	}
	return f.delay, err, nil
}

// writes is how often it was written.
func (f *faults) writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrote
}

// Write is sdk.Store's.
func (f *faults) Write(ctx context.Context, changes ...sdk.Change) (done []sdk.Changed, err error) {
	f.mu.Lock()
	f.wrote++
	f.mu.Unlock()
	err = f.call(ctx, func() (err error) {
		done, err = f.store.Write(ctx, changes...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// Table is sdk.Catalog's.
func (f *faults) Table(ctx context.Context, name string) (table sdk.Table, err error) {
	table = sdk.Table{Database: "sqlite"}
	err = f.call(ctx, func() (err error) {
		if c, ok := f.store.(sdk.Catalog); ok {
			table, err = c.Table(ctx, name)
		}
		return err
	})
	return table, err
}

// Query is sdk.Store's.
func (f *faults) Query(ctx context.Context, q sdk.Query) (res sdk.Result, err error) {
	err = f.call(ctx, func() (err error) {
		res, err = f.store.Query(ctx, q)
		return err
	})
	return res, err
}

// Get is sdk.Cache's.
func (f *faults) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	err = f.call(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		value, ok = f.cache[key]
		return nil
	})
	return value, ok && err == nil, err
}

// Put is sdk.Cache's.
func (f *faults) Put(ctx context.Context, key string, value []byte, _ time.Duration) error {
	return f.call(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.cache[key] = value
		return nil
	})
}

// Drop is sdk.Cache's.
func (f *faults) Drop(ctx context.Context, key string) error {
	return f.call(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.cache, key)
		return nil
	})
}
