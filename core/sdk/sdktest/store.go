package sdktest

import (
	"context"
	"sync"

	"github.com/hostd/hostd/core/sdk"
)

// Store is an sdk.Store in memory, for sinks that keep their records in the host's database. It keeps receipts and
// remembers the changes that were applied; it knows no SQL.
type Store struct {
	// Answer answers a Query; nil answers with no rows.
	Answer func(q sdk.Query) (sdk.Result, error)
	// Tables answers as an sdk.Catalog while the sink is checked; nil is a sqlite database without tables.
	Tables func(name string) (sdk.Table, error)

	mu       sync.Mutex
	applied  []sdk.Change       // guarded by mu
	receipts map[receipt]string // guarded by mu: hash by identity
	order    []string           // guarded by mu: ids in the order of their receipts
}

type receipt struct{ source, id string }

// Applied gives the changes that were applied, those inside a Once without it. Their rows are Rows, whichever way the
// sink wrote them.
func (s *Store) Applied() []sdk.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sdk.Change(nil), s.applied...)
}

// IDs gives the records that have a receipt, in the order of storing.
func (s *Store) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.order...)
}

// Write applies the changes.
func (s *Store) Write(_ context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make([]sdk.Changed, len(changes))
	for i, c := range changes {
		done[i] = s.applyLocked(c)
	}
	return done, nil
}

func (s *Store) applyLocked(c sdk.Change) sdk.Changed {
	switch c := c.(type) {
	case sdk.Insert:
		c.Rows, c.Columns, c.Values = c.All(), nil, nil
		s.applied = append(s.applied, c)
		return sdk.Changed{Rows: int64(len(c.Rows))}
	case sdk.Upsert:
		c.Rows, c.Columns, c.Values = c.All(), nil, nil
		s.applied = append(s.applied, c)
		return sdk.Changed{Rows: int64(len(c.Rows))}
	case sdk.Once:
		return s.onceLocked(c)
	default:
		s.applied = append(s.applied, c)
		return sdk.Changed{Rows: wanted(c)}
	}
}

// wanted is what a statement expects to affect.
func wanted(c sdk.Change) int64 {
	if e, ok := c.(sdk.Exec); ok {
		return max(e.Want, 0)
	}
	return 0
}

func (s *Store) onceLocked(o sdk.Once) (sum sdk.Changed) {
	key := receipt{o.Source, o.ID}
	switch hash, ok := s.receipts[key]; {
	case ok && hash == o.Hash:
		return sdk.Changed{Outcome: sdk.Duplicate}
	case ok:
		return sdk.Changed{Outcome: sdk.Conflict}
	}
	if s.receipts == nil {
		s.receipts = map[receipt]string{}
	}
	s.receipts[key] = o.Hash
	s.order = append(s.order, o.ID)
	for _, c := range o.Changes {
		sum.Rows += s.applyLocked(c).Rows
	}
	return sum
}

// Query answers with Answer.
func (s *Store) Query(_ context.Context, q sdk.Query) (sdk.Result, error) {
	if s.Answer == nil {
		return sdk.Result{}, nil
	}
	return s.Answer(q)
}

// Table answers with Tables.
func (s *Store) Table(_ context.Context, name string) (sdk.Table, error) {
	if s.Tables == nil {
		return sdk.Table{Database: "sqlite"}, nil
	}
	return s.Tables(name)
}
