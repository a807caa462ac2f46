package cache

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/jellydator/ttlcache/v3"
)

// Limits of a cache.
const (
	maxValue        = 64 << 10 // bytes; a larger value is not kept
	overhead        = 256      // bytes that an entry costs besides its value
	defaultCapacity = 1000
	defaultTTL      = 30 * time.Minute
	defaultMaxBytes = 64 << 20
	sweepEvery      = 10 * time.Second
)

// Key is the SHA-256 of what an entry stands for, with every part prefixed by its length: two different things never
// share an entry, as they can when parts are joined by a separator.
type Key = [32]byte

// Options of a cache; zero fields have defaults.
type Options struct {
	Capacity int           // entries; 1,000
	TTL      time.Duration // longest life of an entry; 30 minutes
	MaxBytes int64         // bytes of values and their overhead; 64 MiB
}

// Stats is a snapshot of a cache.
type Stats struct {
	Entries             int
	Hits, Misses, Loads uint64
}

// Cache holds values by key. Its methods may be called at any time, beside each other.
type Cache struct {
	entries atomic.Pointer[ttlcache.Cache[Key, []byte]] // exchanged by Resize, with mu held

	hits, misses, loads atomic.Uint64

	mu      sync.Mutex
	opt     Options         // guarded by mu
	bytes   int64           // guarded by mu: at least what the entries cost; exact after recount
	flights map[Key]*flight // guarded by mu: loads that later callers may join
	group   *life.Group     // guarded by mu: nil while Run is not there
}

// New makes a cache. It works at once; loads are shared and expired entries freed while Run runs.
func New(o Options) *Cache {
	c := &Cache{flights: map[Key]*flight{}}
	c.Resize(o)
	return c
}

// Resize takes other bounds, also while Run runs. It empties the cache: what was there had the life of the old ones.
func (c *Cache) Resize(o Options) {
	if o.Capacity <= 0 {
		o.Capacity = defaultCapacity
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	// Reads must not extend an entry's life: the time is a limit on staleness.
	entries := ttlcache.New(
		ttlcache.WithCapacity[Key, []byte](uint64(o.Capacity)),
		ttlcache.WithDisableTouchOnHit[Key, []byte](),
	)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opt, c.bytes = o, 0
	c.entries.Store(entries)
}

// Run frees expired entries every 10 s and carries the loads, until ctx ends; then it waits for the loads.
func (c *Cache) Run(ctx context.Context) error {
	g := life.NewGroup(ctx)
	c.carry(g)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			c.sweep()
		case <-ctx.Done():
		}
	}
	c.carry(nil)
	return g.Wait()
}

func (c *Cache) carry(g *life.Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group = g
}

// Get returns a copy of the value; false when there is none or its time has passed.
func (c *Cache) Get(key Key) ([]byte, bool) {
	item := c.entries.Load().Get(key)
	if item == nil {
		c.misses.Add(1)
		return nil, false
	}
	c.hits.Add(1)
	return bytes.Clone(item.Value()), true
}

// Put keeps a copy of the value for at most ttl, and up to a tenth less so that entries made together do not end
// together; a ttl of 0, or beyond Options.TTL, is Options.TTL. A value above 64 KiB is not kept, and what was there is
// dropped. The result of a load of this key that is under way is not kept.
func (c *Cache) Put(key Key, value []byte, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(key)
	c.set(key, value, c.limit(ttl))
}

// Drop forgets the value. The result of a load of this key that is under way is not kept, and callers from now on do
// not share it.
func (c *Cache) Drop(key Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(key)
}

// Stats gives a snapshot.
func (c *Cache) Stats() Stats {
	return Stats{Entries: c.entries.Load().Len(), Hits: c.hits.Load(), Misses: c.misses.Load(), Loads: c.loads.Load()}
}

// limit is the life that an entry may have; c.mu is held.
func (c *Cache) limit(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl > c.opt.TTL {
		return c.opt.TTL
	}
	return ttl
}

// forget deletes the entry and disowns the load under way; c.mu is held.
func (c *Cache) forget(key Key) {
	if f := c.flights[key]; f != nil {
		f.disowned = true
		delete(c.flights, key)
	}
	if old := c.entries.Load().Get(key); old != nil {
		c.bytes -= cost(old.Value())
		c.entries.Load().Delete(key)
	}
}

// set stores a copy under a key that has no entry; c.mu is held.
func (c *Cache) set(key Key, value []byte, ttl time.Duration) {
	if len(value) > maxValue || cost(value) > c.opt.MaxBytes || ttl <= 0 {
		return
	}
	ttl -= rand.N(ttl/10 + 1)
	c.entries.Load().Set(key, append([]byte{}, value...), max(ttl, 1))
	c.bytes += cost(value)
	if c.bytes > c.opt.MaxBytes {
		c.trim()
	}
}

func cost(value []byte) int64 { return int64(len(value)) + overhead }

// trim brings the cache below its byte budget, oldest use first, and a tenth lower so that it is not called for every
// entry. ttlcache tells nobody without a goroutine for each entry what it evicts, so the count is made anew here.
func (c *Cache) trim() {
	c.recount()
	target := c.opt.MaxBytes - c.opt.MaxBytes/10
	for c.bytes > c.opt.MaxBytes || c.bytes > target && c.entries.Load().Len() > 1 {
		last := c.entries.Load().Len()
		c.entries.Load().RangeBackwards(func(item *ttlcache.Item[Key, []byte]) bool {
			c.entries.Load().Delete(item.Key())
			c.bytes -= cost(item.Value())
			return false
		})
		if c.entries.Load().Len() >= last { // the oldest one expired meanwhile
			c.recount()
			if c.entries.Load().Len() == 0 {
				return
			}
		}
	}
}

// recount makes c.bytes exact; c.mu is held.
func (c *Cache) recount() {
	c.entries.Load().DeleteExpired()
	c.bytes = 0
	for _, item := range c.entries.Load().Items() {
		c.bytes += cost(item.Value())
	}
}

func (c *Cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recount()
}
