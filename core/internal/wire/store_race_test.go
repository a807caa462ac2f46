package wire

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
	"google.golang.org/grpc"
)

var races = flag.Int("races", 2000, "committed writes in TestNoStaleAnswerOverTheWire, each followed by a read; the long form is 100000")

// hosted serves the host's own database and cache to two sinks.
func hosted(t *testing.T) (emr, pacs sdk.Store, c *cache.Cache) {
	t.Helper()
	c = cache.New(cache.Options{})
	p, err := dbpool.Open(t.Context(), dbpool.Options{
		Path: filepath.Join(t.TempDir(), "hostd.db"), Cache: c, OperationTimeout: time.Minute, AcquireTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("cache", c.Run)
	g.Go("database", p.Run)
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(g.Wait(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	served := func(sink string) sdk.Store {
		conn, _ := connect(t, ServerOptions(), func(s *grpc.Server) {
			pb.RegisterStoreServer(s, &storeServer{store: p.Store(sink)})
		})
		return newStoreClient(conn, true)
	}
	emr, pacs = served("emr"), served("pacs")
	if _, err := emr.Write(t.Context(), sdk.Exec{SQL: "CREATE TABLE chart (name TEXT PRIMARY KEY, n INTEGER)", Want: -1}); err != nil {
		t.Fatal(err)
	}
	for kept := false; !kept; { // until the cache runs
		res, err := emr.Query(t.Context(), sdk.Query{SQL: "SELECT 1", CacheFor: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		kept = res.Cached
	}
	return emr, pacs, c
}

func askChart(ctx context.Context, s sdk.Store, name string) (int64, error) {
	res, err := s.Query(ctx, sdk.Query{
		SQL: "SELECT n FROM chart WHERE name = ?", Args: []any{name}, CacheFor: time.Minute, CacheNoneFor: time.Minute, Tables: []string{"chart"},
	})
	if err != nil || len(res.Rows) == 0 {
		return 0, err
	}
	return res.Rows[0][0].(int64), nil
}

// TestNoStaleAnswerOverTheWire has what one sink committed read by another one, beside others who keep the cache warm.
func TestNoStaleAnswerOverTheWire(t *testing.T) {
	const writers = 32
	emr, pacs, c := hosted(t)
	rounds := *races / writers
	if testing.Short() {
		rounds /= 10
	}
	stop := make(chan struct{})
	var writing, reading sync.WaitGroup
	for w := range writers {
		name := fmt.Sprint(w)
		writing.Go(func() {
			for n := range int64(rounds) {
				row := sdk.Row{"name": name, "n": n + 1}
				if _, err := emr.Write(t.Context(), sdk.Upsert{Table: "chart", Key: []string{"name"}, Rows: []sdk.Row{row}}); err != nil {
					t.Error(err)
					return
				}
				if got, err := askChart(t.Context(), pacs, name); err != nil || got != n+1 {
					t.Errorf("read %d after %d was committed: %v", got, n+1, err)
					return
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := askChart(t.Context(), pacs, fmt.Sprint(n%writers)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	if s := c.Stats(); s.Hits == 0 {
		t.Error("nothing came from the cache, so nothing was proven")
	}
}

// TestAThousandMissesOverTheWire has two sinks ask what nobody asked before: the host loads it once.
func TestAThousandMissesOverTheWire(t *testing.T) {
	const callers = 1000
	emr, pacs, c := hosted(t)
	before := c.Stats()
	var wg sync.WaitGroup
	for n := range callers {
		s := []sdk.Store{emr, pacs}[n%2]
		wg.Go(func() {
			if _, err := askChart(t.Context(), s, "nobody"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now := c.Stats()
	if asked := now.Hits + now.Misses - before.Hits - before.Misses; asked != callers || now.Loads-before.Loads != 1 {
		t.Errorf("%d loads for %d callers, want 1 for %d", now.Loads-before.Loads, asked, callers)
	}
}
