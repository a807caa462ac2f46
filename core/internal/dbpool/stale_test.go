package dbpool_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

var races = flag.Int("races", 4000, "committed writes in TestNoStaleAnswer, each followed by a read; the long form is 100000")

// caching gives a pool with a running cache.
func caching(t *testing.T, d *database, o dbpool.Options) (*dbpool.Pool, *cache.Cache) {
	t.Helper()
	c := cache.New(cache.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	g := life.NewGroup(ctx)
	g.Go("cache", c.Run)
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	o.Cache = c
	p := d.withClinic(t, o)
	for kept := false; !kept; { // until the cache runs
		res, err := p.Store("first").Query(t.Context(), sdk.Query{SQL: "SELECT 1", CacheFor: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		kept = res.Cached
	}
	return p, c
}

// chart is one row that one writer alone changes; its room is the number of the write.
type chart struct {
	name      string
	committed atomic.Int64
}

// write stores the next number and asks at once, as another sink, what is stored.
func (c *chart) write(ctx context.Context, emr, pacs sdk.Store) error {
	n := c.committed.Load() + 1
	row := sdk.Row{"chart": c.name, "room": strconv.FormatInt(n, 10)}
	if _, err := emr.Write(ctx, sdk.Upsert{Table: "visit", Key: []string{"chart"}, Rows: []sdk.Row{row}}); err != nil {
		return err
	}
	c.committed.Store(n)
	got, err := c.ask(ctx, pacs)
	if err == nil && got != n {
		return fmt.Errorf("read %d after %d was committed", got, n)
	}
	return err
}

// ask gives the number that is stored, 0 for none. Both answers may come from the cache.
func (c *chart) ask(ctx context.Context, s sdk.Store) (int64, error) {
	res, err := s.Query(ctx, sdk.Query{SQL: "SELECT room FROM visit WHERE chart = ?", Args: []any{c.name}, CacheFor: time.Minute, CacheNoneFor: time.Minute, Tables: []string{"visit"}})
	if err != nil || len(res.Rows) == 0 {
		return 0, err
	}
	return strconv.ParseInt(res.Rows[0][0].(string), 10, 64)
}

// TestNoStaleAnswer has writers that read what they committed, through another sink, and readers who keep loading the
// same answers into the cache meanwhile. Every 50 writes a writer goes on to a row that is not there yet, so that a
// cached answer without rows must give way, too.
func TestNoStaleAnswer(t *testing.T) {
	const writers, readers = 32, 4
	each(t, func(t *testing.T, d *database) {
		p, c := caching(t, d, dbpool.Options{OperationTimeout: time.Minute, AcquireTimeout: time.Minute})
		emr, pacs := p.Store("emr"), p.Store("pacs")
		var now [writers]atomic.Pointer[chart]
		rounds := *races / writers
		if testing.Short() {
			rounds /= 10
		}
		for w := range writers {
			now[w].Store(&chart{name: fmt.Sprint(w)})
		}
		stop := make(chan struct{})
		var reading, writing sync.WaitGroup
		for range readers {
			reading.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					c := now[rand.IntN(writers)].Load()
					least := c.committed.Load()
					if got, err := c.ask(t.Context(), pacs); err != nil || got < least {
						t.Errorf("read %d after %d was committed: %v", got, least, err)
						return
					}
				}
			})
		}
		for w := range writers {
			writing.Go(func() {
				for n := range rounds {
					if n > 0 && n%50 == 0 {
						now[w].Store(&chart{name: fmt.Sprint(w, "-", n)})
					}
					if err := now[w].Load().write(t.Context(), emr, pacs); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writing.Wait()
		close(stop)
		reading.Wait()
		if s := c.Stats(); s.Hits == 0 || s.Loads == 0 {
			t.Errorf("%d hits and %d loads: nothing was proven", s.Hits, s.Loads)
		}
	})
}

// TestAThousandMissesAreOneQuery has the callers of ten sinks miss the same answer while it is being loaded, once with
// rows and once without.
func TestAThousandMissesAreOneQuery(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for name, where := range map[string]string{"a row": "", "no row": " WHERE n < 0"} {
			t.Run(name, func(t *testing.T) {
				const callers, sinks = 1000, 10
				var log lines
				p, c := caching(t, d, dbpool.Options{OperationTimeout: time.Minute, QueryLog: true, Log: log.logger()})
				expr, open := d.hold(t)
				before := c.Stats()
				var wg sync.WaitGroup
				for n := range callers {
					s := p.Store(fmt.Sprint("sink-", n%sinks))
					wg.Go(func() {
						res, err := s.Query(t.Context(), sdk.Query{
							SQL: "SELECT n FROM (SELECT " + expr + " AS n) AS held" + where, CacheFor: time.Minute, CacheNoneFor: time.Minute, Tables: []string{"visit"},
						})
						if err != nil || (len(res.Rows) == 1) != (where == "") {
							t.Errorf("%d rows, %v", len(res.Rows), err)
						}
					})
				}
				until(t, "all missed", func() bool { return c.Stats().Misses-before.Misses == callers })
				open()
				wg.Wait()
				if n := strings.Count(log.String(), "SELECT n FROM"); n != 1 {
					t.Errorf("%d queries, want 1:\n%s", n, &log)
				}
				if n := c.Stats().Loads - before.Loads; n != 1 {
					t.Errorf("%d loads, want 1", n)
				}
			})
		}
	})
}

// TestAnAnswerWithoutRows is kept only for those who ask for it, and until a write to one of its tables.
func TestAnAnswerWithoutRows(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		p, _ := caching(t, d, dbpool.Options{})
		ask := func(none time.Duration, table string) sdk.Result {
			t.Helper()
			res, err := p.Store("emr").Query(t.Context(), sdk.Query{SQL: "SELECT room FROM visit WHERE chart = 'x'", CacheFor: time.Minute, CacheNoneFor: none, Tables: []string{table}})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		for _, none := range []time.Duration{0, -time.Second} {
			ask(none, "visit")
			if ask(none, "visit").Cached {
				t.Errorf("kept, although it was asked for %v", none)
			}
		}
		first := ask(time.Minute, "visit")
		again := ask(time.Minute, "visit")
		if first.Cached || !again.Cached || len(again.Rows) != 0 || fmt.Sprint(again.Columns) != fmt.Sprint(first.Columns) {
			t.Errorf("first %+v, again %+v", first, again)
		}
		named := `app."VISIT"` // as it may stand in a mapping; the write names it plainly
		ask(time.Minute, named)
		if !ask(time.Minute, named).Cached {
			t.Error("not kept for the table's long name")
		}
		mustWrite(t, p.Store("pacs"), sdk.Insert{Table: "visit", Rows: []sdk.Row{visit("x")}})
		for _, table := range []string{"visit", named} {
			if res := ask(time.Minute, table); res.Cached || len(res.Rows) != 1 {
				t.Errorf("after a write, of %s: %+v", table, res)
			}
			if res := ask(0, table); res.Cached || len(res.Rows) != 1 {
				t.Errorf("after a write, of %s, not asked for: %+v", table, res)
			}
		}
	})
}
