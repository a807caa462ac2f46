// Naive is a clinic service as the origin of the incident was: one handler per record, one pool for all of them, and a
// path on which QueryRow is called without Scan. It prints its pool and what it stored as lines of CSV.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite"
)

// lookEvery is the time between two lines.
const lookEvery = 250 * time.Millisecond

type service struct {
	db     *sql.DB
	leaks  int // a record in so many takes the path without Scan; 0 is none
	asking atomic.Int64
	stored atomic.Int64
	lost   atomic.Int64 // connections that were not given back
}

func main() {
	s := &service{}
	path := flag.String("db", "", "the database file, which is made")
	count := flag.Int("count", 3000, "records")
	rate := flag.Float64("rate", 150, "records per second")
	pool := flag.Int("pool", 38, "connections")
	flag.IntVar(&s.leaks, "leak-every", 20, "a record in so many takes the path that forgets Scan; 0 is none")
	stay := flag.Duration("stay", 2*time.Second, "how long the last records are waited for")
	flag.Parse()
	if err := s.run(*path, *pool, *count, *rate, *stay); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (s *service) run(path string, pool, count int, rate float64, stay time.Duration) (err error) {
	s.db, err = sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	s.db.SetMaxOpenConns(pool)
	s.db.SetMaxIdleConns(pool)
	if _, err := s.db.ExecContext(context.Background(), "CREATE TABLE exam (id INTEGER PRIMARY KEY, patient TEXT, body TEXT)"); err != nil {
		return err
	}
	began := time.Now()
	over := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() { s.look(began, over) })
	s.feed(began, count, rate)
	end := time.Now().Add(stay)
	for s.stored.Load() < int64(count) && time.Now().Before(end) {
		time.Sleep(lookEvery)
	}
	close(over)
	looking.Wait()
	return nil // without Close: it would wait for what is not given back
}

// feed is the devices: each record is handled beside the others, as a request to a web service is.
func (s *service) feed(began time.Time, count int, rate float64) {
	for n := range count {
		time.Sleep(time.Until(began.Add(time.Duration(float64(n) / rate * float64(time.Second)))))
		go s.handle(n)
	}
}

// handle stores one record. There is no deadline, as there was none.
func (s *service) handle(n int) {
	ctx := context.Background()
	if s.leaks > 0 && n%s.leaks == s.leaks-1 {
		s.ask(func() { s.repeated(ctx, n) })
	}
	var known int
	var err error
	s.ask(func() { err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM exam WHERE id = ?", n).Scan(&known) })
	if err != nil || known > 0 {
		return
	}
	s.ask(func() {
		_, err = s.db.ExecContext(ctx, "INSERT INTO exam (id, patient, body) VALUES (?, ?, ?)", n, fmt.Sprintf("T-%06d", n%1000), "SPH -1.25 CYL -0.50 AX 90")
	})
	if err == nil {
		s.stored.Add(1)
	}
}

// repeated is the fault: somebody wants to know only whether the query works. Until Scan is called the row, and with it
// its connection, is taken.
func (s *service) repeated(ctx context.Context, n int) {
	if row := s.db.QueryRowContext(ctx, "SELECT id FROM exam WHERE id < ? UNION ALL SELECT -1", n); row.Err() == nil {
		s.lost.Add(1)
	}
}

func (s *service) ask(do func()) {
	s.asking.Add(1)
	defer s.asking.Add(-1)
	do()
}

// look prints milliseconds, connections in use, requests that wait for one, and records stored.
func (s *service) look(began time.Time, over <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		st := s.db.Stats()
		busy := max(int64(st.InUse)-s.lost.Load(), 0)
		fmt.Printf("%d,%d,%d,%d\n", time.Since(began).Milliseconds(), st.InUse, max(s.asking.Load()-busy, 0), s.stored.Load())
		select {
		case <-tick.C:
		case <-over:
			return
		}
	}
}
