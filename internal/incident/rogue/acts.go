package main

import (
	"context"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

const (
	callers = 200  // of a flood
	storm   = 1500 // calls at once that nobody waits for: more than the host lets wait
	large   = 8    // answers at the limit of size, side by side
)

const (
	sqlSmall = "SELECT count(*) FROM ingest_receipt"
	// sqlForever has no end.
	sqlForever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
	// sqlLarge is 10,000 rows of the length of its argument.
	sqlLarge = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10000) SELECT hex(zeroblob(?)), x FROM n"
	// sqlLongWrite has the one place of the writers, and no end.
	sqlLongWrite = "DELETE FROM exam WHERE source IN (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT 'no-' || x FROM n)"
)

// calls are the acts that need no batch. They may leave calls behind; ctx is the time of the act.
var calls = map[string]func(ctx context.Context, s *careless){
	"flood":   flood,
	"deaf":    deaf,
	"forever": forever,
	"writer":  writer,
	"huge":    huge,
	"storm":   callStorm,
	"refused": refused,
	"cache":   cacheFlood,
}

// beside runs do n times side by side, again and again until ctx ends, and does not wait for the last ones.
func beside(ctx context.Context, n int, do func()) {
	for range n {
		go func() {
			for ctx.Err() == nil {
				do()
			}
		}()
	}
}

// careless asks the store and does not look at what comes back.
type careless struct{ store sdk.Store }

func (c *careless) query(ctx context.Context, q sdk.Query) { _, _ = c.store.Query(ctx, q) }

func (c *careless) write(ctx context.Context, changes ...sdk.Change) {
	_, _ = c.store.Write(ctx, changes...)
}

// hour is the deadline that a careless author gives to a call, which outlives the act.
func hour(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	time.AfterFunc(time.Hour, cancel)
	return ctx
}

// flood asks with 200 callers at once.
func flood(ctx context.Context, s *careless) {
	beside(ctx, callers, func() { s.query(ctx, sdk.Query{SQL: sqlSmall}) })
}

// deaf asks and is gone before the answer.
func deaf(ctx context.Context, s *careless) {
	beside(ctx, callers/4, func() {
		short, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
		defer cancel()
		s.query(short, sdk.Query{SQL: sqlLarge, Args: []any{16}, MaxRows: 10_000})
	})
}

// endless is a statement without an end, and an hour for it.
func endless(ctx context.Context, s *careless) { s.query(hour(ctx), sdk.Query{SQL: sqlForever}) }

// forever has many of them, and forgets them.
func forever(ctx context.Context, s *careless) {
	for range callers / 4 {
		go endless(ctx, s)
	}
}

// writer holds the writers' place.
func writer(ctx context.Context, s *careless) {
	beside(ctx, 4, func() { s.write(hour(ctx), sdk.Exec{SQL: sqlLongWrite, Want: -1}) })
}

// huge asks for answers at and above the limit.
func huge(ctx context.Context, s *careless) {
	beside(ctx, large, func() {
		s.query(hour(ctx), sdk.Query{SQL: sqlLarge, Args: []any{180}, MaxRows: 10_000})
		s.query(hour(ctx), sdk.Query{SQL: sqlLarge, Args: []any{4 << 20}, MaxRows: 10_000})
		s.query(hour(ctx), sdk.Query{SQL: sqlLarge, Args: []any{1}, MaxRows: 10})
	})
}

// callStorm begins more calls than may wait, and waits for none.
func callStorm(ctx context.Context, s *careless) {
	for range storm {
		go s.query(hour(ctx), sdk.Query{SQL: sqlSmall})
	}
}

// refused tries to keep a transaction, to change the host's own settings and tables, and to leave half of a write.
func refused(ctx context.Context, s *careless) {
	beside(ctx, 4, func() {
		for _, text := range []string{"BEGIN", "SAVEPOINT mine", "COMMIT", "PRAGMA busy_timeout = 0", "ATTACH 'x' AS y", "SELECT 1; SELECT 2", "DROP TABLE nowhere"} {
			s.write(ctx, sdk.Exec{SQL: text, Want: -1})
			s.query(ctx, sdk.Query{SQL: text})
		}
		s.write(ctx, sdk.Insert{Table: "ingest_receipt", Rows: []sdk.Row{{"source": "x"}}})
		s.write(ctx, sdk.Exec{SQL: "DELETE FROM exam WHERE source = 'nobody'", Want: 7})
	})
}

// cacheFlood fills the cache with answers that nobody asks for again, and none of which may be old.
func cacheFlood(ctx context.Context, s *careless) {
	n := int64(0)
	beside(ctx, 1, func() {
		n++
		s.query(ctx, sdk.Query{SQL: "SELECT ?", Args: []any{n}, CacheFor: time.Hour})
	})
}
