package wire

import "testing"

// A slice goes back into the pool that it came from, and holds at most a quarter more than was asked for.
func TestBuffersHaveTheirClass(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 5120, 5121, 1 << 20, 1<<20 + 1, 1<<20 + 60<<10, 3 << 19, 1<<21 - 1, 1 << 25, 1<<25 + 1} {
		p := buffers{}.Get(n)
		if len(*p) != n || cap(*p) < n || n >= 4096 && cap(*p) > n+n/4+1 {
			t.Errorf("Get(%d) has length %d, capacity %d", n, len(*p), cap(*p))
		}
		if pool, capacity := class(cap(*p)); n <= 1<<25 && capacity != cap(*p) {
			t.Errorf("a slice of capacity %d for %d belongs into pool %d of capacity %d", cap(*p), n, pool, capacity)
		}
		buffers{}.Put(p)
	}
}
