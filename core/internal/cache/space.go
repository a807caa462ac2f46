package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Space is the part of the cache that belongs to a sink: no other sink can see or drop its entries. Its calls never fail.
func (c *Cache) Space(sink string) sdk.Cache { return space{c, sink} }

type space struct {
	cache *Cache
	sink  string
}

// Get returns a copy of the sink's value.
func (s space) Get(_ context.Context, key string) ([]byte, bool, error) {
	v, ok := s.cache.Get(s.key(key))
	return v, ok, nil
}

// Put keeps a copy of the value; see Cache.Put for its life.
func (s space) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s.cache.Put(s.key(key), value, ttl)
	return nil
}

// Drop forgets the sink's value.
func (s space) Drop(_ context.Context, key string) error {
	s.cache.Drop(s.key(key))
	return nil
}

func (s space) key(key string) Key {
	return hash("space", s.sink, key)
}

// hash is the SHA-256 over the parts, each after its length in eight bytes, big endian.
func hash(parts ...string) Key {
	n := 0
	for _, p := range parts {
		n += 8 + len(p)
	}
	buf := make([]byte, 0, n)
	for _, p := range parts {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	return sha256.Sum256(buf)
}
