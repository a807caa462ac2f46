package cache_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/life"
	"go.uber.org/goleak"
)

var races = flag.Int("races", 20_000, "rounds of write, invalidate and read in TestNoStaleRead")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running makes a cache whose Run ends with the test.
func running(t testing.TB, o cache.Options) *cache.Cache {
	t.Helper()
	c := cache.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("cache", c.Run)
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	// Run is there when a load is shared: its context is not the caller's.
	type mine struct{}
	own := context.WithValue(context.Background(), mine{}, 1)
	for i := uint64(0); ; i++ {
		shared := false
		k := keyOf(1<<63 + i)
		_, _, err := c.GetOrLoad(own, k, 0, func(ctx context.Context) ([]byte, error) {
			shared = ctx.Value(mine{}) == nil
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Drop(k)
		if shared {
			return c
		}
	}
}

func keyOf(n uint64) (k cache.Key) {
	binary.BigEndian.PutUint64(k[:], n)
	return k
}

func TestTimeIsAHardLimit(t *testing.T) {
	for _, c := range []struct {
		name       string
		limit, ttl time.Duration
		want       time.Duration
	}{
		{"the cache's own", 30 * time.Minute, 0, 30 * time.Minute},
		{"the caller's", 30 * time.Minute, time.Minute, time.Minute},
		{"the caller's beyond the cache's", time.Minute, time.Hour, time.Minute},
		{"negative", time.Minute, -1, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := cache.New(cache.Options{TTL: c.limit})
				for n := range uint64(50) {
					store.Put(keyOf(n), []byte("v"), c.ttl)
				}
				count := func() (there int) {
					for n := range uint64(50) {
						if _, ok := store.Get(keyOf(n)); ok {
							there++
						}
					}
					return there
				}
				// Reads along the way must not make it live longer.
				for range 89 {
					if n := count(); n != 50 {
						t.Fatalf("%d of 50 entries before nine tenths of their time", n)
					}
					time.Sleep(c.want / 100)
				}
				time.Sleep(c.want / 20)
				if n := count(); n == 0 || n == 50 {
					t.Fatalf("%d of 50 entries at 94 %% of their time: they end together", n)
				}
				time.Sleep(c.want * 6 / 100)
				if n := count(); n != 0 {
					t.Fatalf("%d of 50 entries served at or after their time", n)
				}
			})
		})
	}
}

func TestALoadedValueIsAsOldAsItsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := running(t, cache.Options{TTL: time.Minute})
		slow := func(context.Context) ([]byte, error) {
			time.Sleep(50 * time.Second)
			return []byte("v"), nil
		}
		if _, _, err := c.GetOrLoad(t.Context(), keyOf(1), 0, slow); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get(keyOf(1)); !ok {
			t.Fatal("not kept")
		}
		time.Sleep(10 * time.Second)
		if _, ok := c.Get(keyOf(1)); ok {
			t.Fatal("served a minute after its load began")
		}
	})
}

func TestSpacesDoNotMeet(t *testing.T) {
	c := cache.New(cache.Options{})
	ctx := t.Context()
	pairs := [][2]string{{"a b", "c"}, {"a", "b c"}, {"ab", "c"}, {"a", "bc"}, {"", "abc"}, {"abc", ""}, {"a\x00b", "c"}, {"a", "\x00bc"}, {"a", "b"}}
	for i, p := range pairs {
		if err := c.Space(p[0]).Put(ctx, p[1], []byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range pairs {
		v, ok, err := c.Space(p[0]).Get(ctx, p[1])
		if err != nil || !ok || !bytes.Equal(v, []byte{byte(i)}) {
			t.Errorf("sink %q key %q has %v, %v, %v; want %d", p[0], p[1], v, ok, err, i)
		}
	}
	if err := c.Space("a b").Drop(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := c.Space("a b").Get(ctx, "c"); ok {
		t.Error("dropped and still there")
	}
	if _, ok, _ := c.Space("a").Get(ctx, "b c"); !ok {
		t.Error("another sink's entry was dropped")
	}
}

func TestValuesAreCopies(t *testing.T) {
	c := running(t, cache.Options{})
	in := []byte("kept")
	c.Put(keyOf(1), in, 0)
	in[0] = 'X'
	out, _ := c.Get(keyOf(1))
	out[1] = 'X'
	if v, _ := c.Get(keyOf(1)); string(v) != "kept" {
		t.Errorf("the caller changed the entry: %q", v)
	}
	loaded := []byte("loaded")
	v, _, err := c.GetOrLoad(t.Context(), keyOf(2), 0, func(context.Context) ([]byte, error) { return loaded, nil })
	if err != nil {
		t.Fatal(err)
	}
	v[0], loaded[1] = 'X', 'X'
	if v, _ := c.Get(keyOf(2)); string(v) != "loaded" {
		t.Errorf("the caller changed the loaded entry: %q", v)
	}
}

func TestBounds(t *testing.T) {
	c := cache.New(cache.Options{Capacity: 10})
	for n := range uint64(100) {
		c.Put(keyOf(n), []byte("v"), 0)
	}
	if n := c.Stats().Entries; n != 10 {
		t.Errorf("%d entries, want 10", n)
	}
	c.Put(keyOf(99), make([]byte, 64<<10+1), 0)
	if _, ok := c.Get(keyOf(99)); ok {
		t.Error("kept a value above 64 KiB, or the one before it")
	}
	c.Put(keyOf(99), make([]byte, 64<<10), 0)
	if v, ok := c.Get(keyOf(99)); !ok || len(v) != 64<<10 {
		t.Error("did not keep a value of 64 KiB")
	}
}

// Other bounds hold from then on, for a load that is under way, too.
func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := running(t, cache.Options{Capacity: 10, TTL: time.Hour})
		c.Put(keyOf(1), []byte("old"), 0)
		loading := make(chan struct{})
		g := life.NewGroup(t.Context())
		g.Go("slow load", func(ctx context.Context) error {
			_, _, err := c.GetOrLoad(ctx, keyOf(2), 0, func(context.Context) ([]byte, error) { <-loading; return []byte("v"), nil })
			return err
		})
		synctest.Wait()
		c.Resize(cache.Options{Capacity: 20, TTL: time.Minute})
		close(loading)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get(keyOf(1)); ok {
			t.Error("an entry has outlived the bounds that it was made for")
		}
		if _, ok := c.Get(keyOf(2)); !ok {
			t.Error("the load that was under way is not kept")
		}
		for n := range uint64(100) {
			c.Put(keyOf(100+n), []byte("v"), time.Hour)
		}
		if n := c.Stats().Entries; n != 20 {
			t.Errorf("%d entries, want 20", n)
		}
		time.Sleep(time.Minute)
		if n := c.Stats().Entries; n != 0 {
			t.Errorf("%d entries after the new bound of their time", n)
		}
	})
}

// A load that began before its bound became shorter leaves a value that is no older than the new one.
func TestResizeDuringALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := running(t, cache.Options{TTL: time.Hour})
		g := life.NewGroup(t.Context())
		g.Go("slow load", func(ctx context.Context) error {
			_, _, err := c.GetOrLoad(ctx, keyOf(2), 0, func(context.Context) ([]byte, error) { time.Sleep(time.Second); return []byte("v"), nil })
			return err
		})
		synctest.Wait()
		c.Resize(cache.Options{TTL: time.Minute})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, ok := c.Get(keyOf(2)); ok {
			t.Error("served beyond the new bound")
		}
	})
}

func TestBytesAreBoundedOldestUseFirst(t *testing.T) {
	c := cache.New(cache.Options{Capacity: 100_000, MaxBytes: 1 << 20})
	value := make([]byte, 10_000)
	for n := range uint64(1000) {
		c.Put(keyOf(n), value, 0)
		c.Get(keyOf(0)) // in use all the time
		if held := c.Stats().Entries * len(value); held > 1<<20 {
			t.Fatalf("after %d puts it holds %d bytes", n+1, held)
		}
	}
	if _, ok := c.Get(keyOf(0)); !ok {
		t.Error("the one in use was dropped")
	}
	if _, ok := c.Get(keyOf(999)); !ok {
		t.Error("the newest was dropped")
	}
	if n := c.Stats().Entries; n < 80 {
		t.Errorf("only %d entries of 10,000 bytes in a megabyte", n)
	}
	for range 1000 { // the same entry again and again costs once
		c.Put(keyOf(999), value, 0)
	}
	if n := c.Stats().Entries; n < 80 {
		t.Errorf("only %d entries left after one was put again", n)
	}
}

func TestOneLoadForAll(t *testing.T) {
	c := running(t, cache.Options{})
	before := c.Stats().Loads
	var calls atomic.Int64
	gate, begun := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			v, hit, err := c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) {
				if calls.Add(1) == 1 {
					close(begun)
				}
				<-gate
				return []byte("v"), nil
			})
			if string(v) != "v" || err != nil || hit && calls.Load() != 1 {
				t.Errorf("got %q, %v, %v", v, hit, err)
			}
		})
	}
	<-begun
	// Another key is not held up by this load.
	if _, _, err := c.GetOrLoad(t.Context(), keyOf(2), 0, func(context.Context) ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	close(gate)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
	if n := c.Stats().Loads - before; n != 2 {
		t.Errorf("Stats counts %d loads, want 2", n)
	}
}

func TestAWaiterLeavesAndTheOthersGetTheirAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := running(t, cache.Options{})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		load := func(ctx context.Context) ([]byte, error) {
			select {
			case <-time.After(5 * time.Second):
				return []byte("v"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		first := make(chan error, 1)
		go func() {
			_, _, err := c.GetOrLoad(short, keyOf(1), 0, load)
			first <- err
		}()
		synctest.Wait()
		v, _, err := c.GetOrLoad(t.Context(), keyOf(1), 0, load)
		if string(v) != "v" || err != nil {
			t.Errorf("the patient one got %q, %v", v, err)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the one that began the load got %v, want its own deadline", err)
		}
	})
}

func TestErrorsAreSharedAndNotKept(t *testing.T) {
	c := running(t, cache.Options{})
	broken := errors.New("broken")
	_, _, err := c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) { return []byte("half"), broken })
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	_, _, err = c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) { panic("wires crossed") })
	var p *life.Panic
	if !errors.As(err, &p) {
		t.Fatalf("a panic in a load came out as %v", err)
	}
	v, hit, err := c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) { return []byte("whole"), nil })
	if string(v) != "whole" || hit || err != nil {
		t.Fatalf("after two failures got %q, %v, %v", v, hit, err)
	}
}

// briefly is a value that a load gives as an error.
type briefly struct {
	value string
	ttl   time.Duration
}

func (briefly) Error() string                    { return "brief" }
func (b briefly) Brief() ([]byte, time.Duration) { return []byte(b.value), b.ttl }

func TestABriefValueHasALifeOfItsOwn(t *testing.T) {
	for name, c := range map[string]struct{ brief, want time.Duration }{
		"shorter":  {5 * time.Second, 5 * time.Second},
		"not kept": {0, 0},
		"negative": {-1, 0},
		"longer":   {time.Hour, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := running(t, cache.Options{})
				loads := 0
				ask := func() bool {
					t.Helper()
					v, hit, err := store.GetOrLoad(t.Context(), keyOf(1), time.Minute, func(context.Context) ([]byte, error) {
						loads++
						return nil, fmt.Errorf("wrapped: %w", briefly{"v", c.brief})
					})
					if string(v) != "v" || err != nil {
						t.Fatalf("got %q, %v", v, err)
					}
					return hit
				}
				if ask() {
					t.Fatal("found before it was loaded")
				}
				time.Sleep(c.want * 8 / 10)
				if hit := ask(); hit != (c.want > 0) {
					t.Errorf("found within its life: %v", hit)
				}
				time.Sleep(c.want * 2 / 10)
				if ask() {
					t.Error("found after its life")
				}
			})
		})
	}
	c := cache.New(cache.Options{}) // whose Run is not there
	v, hit, err := c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) { return nil, briefly{"v", time.Second} })
	if string(v) != "v" || hit || err != nil {
		t.Errorf("without Run: %q, %v, %v", v, hit, err)
	}
}

func TestWithoutRunALoadIsTheCallersOwn(t *testing.T) {
	c := cache.New(cache.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := c.GetOrLoad(ctx, keyOf(1), 0, func(ctx context.Context) ([]byte, error) { return nil, ctx.Err() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestWhatWasDroppedDuringItsLoadIsNotKept(t *testing.T) {
	for name, act := range map[string]func(*cache.Cache){
		"drop": func(c *cache.Cache) { c.Drop(keyOf(1)) },
		"put":  func(c *cache.Cache) { c.Put(keyOf(1), []byte("new"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			c := running(t, cache.Options{})
			v, _, err := c.GetOrLoad(t.Context(), keyOf(1), 0, func(context.Context) ([]byte, error) {
				act(c)
				return []byte("old"), nil
			})
			if string(v) != "old" || err != nil {
				t.Fatalf("the one that asked before got %q, %v", v, err)
			}
			if v, ok := c.Get(keyOf(1)); ok && string(v) != "new" {
				t.Fatalf("the cache kept %q", v)
			}
		})
	}
}

// TestNoStaleRead writes, invalidates and reads beside readers that load: what is read after the invalidation must be
// at least what was written before it.
func TestNoStaleRead(t *testing.T) {
	rounds := *races
	if testing.Short() {
		rounds /= 10
	}
	c := running(t, cache.Options{})
	var truth [4]atomic.Uint64
	load := func(k uint64) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			return binary.BigEndian.AppendUint64(nil, truth[k].Load()), nil
		}
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range uint64(4) {
		readers.Go(func() {
			for n := r; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := c.GetOrLoad(t.Context(), keyOf(n%4), 0, load(n%4)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range uint64(rounds) {
		k := n % 4
		truth[k].Add(1)
		c.Drop(keyOf(k))
		v, _, err := c.GetOrLoad(t.Context(), keyOf(k), 0, load(k))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := binary.BigEndian.Uint64(v), truth[k].Load(); got != want {
			t.Errorf("round %d read %d after %d was written", n, got, want)
			break
		}
	}
	close(stop)
	readers.Wait()
}

func BenchmarkGet(b *testing.B) {
	c := cache.New(cache.Options{})
	space := c.Space("emr")
	for n := range 1000 {
		if err := space.Put(b.Context(), fmt.Sprint(n), make([]byte, 500), 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := space.Get(b.Context(), "500"); !ok {
			b.Fatal("gone")
		}
	}
}
