package sdk

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Sink writes records somewhere. Its calls never overlap.
type Sink interface {
	// Open prepares. It is called before anything else, and again after Close.
	Open(ctx context.Context, env SinkEnv) error
	// Write stores the records, at most 1,000 and at most 1 MiB unless it is one, and returns only when they are as safe as the sink
	// can make them: nil is all of them, RecordErrors are the records that will never be stored (each a dead letter; the rest is stored), any other
	// error is none of them, and they come again. The same record may come again after a crash: same Source, ID and ContentHash.
	Write(ctx context.Context, records []Record) error
	// Close lets go. It is called once after each Open, also after a failed one.
	Close(ctx context.Context) error
}

// SinkEnv is what the host gives to a sink at Open.
type SinkEnv struct {
	// Name of the sink in the configuration.
	Name string
	// Settings of this sink; Decode reads them.
	Settings Settings
	// StateDir is a folder of the sink's own that survives restarts.
	StateDir string
	// Log arrives in the host's log with the sink's name. Never log patient data.
	Log *slog.Logger
	// Store is the host's guarded database.
	Store Store
	// Cache is the host's cache, seen through a space of this sink's own.
	Cache Cache
	// Blob opens an attachment by its hash; the caller closes it. An error that is fs.ErrNotExist means that the host has no such content.
	Blob func(ctx context.Context, hash string) (io.ReadCloser, error)
}

// Store is the host's database, shared by all sinks. Each call is one bounded request with one complete answer; no
// connection, cursor or transaction is ever lent, so none can be lost.
type Store interface {
	// Write applies the changes in order in one transaction and returns an answer for each. On error nothing was
	// applied, unless ClassOf says ClassUnknown: then it may have been, and writing again is safe with receipts only.
	Write(ctx context.Context, changes ...Change) ([]Changed, error)
	// Query reads all rows before it returns. More than Query.MaxRows is an error, not a cut.
	Query(ctx context.Context, q Query) (Result, error)
}

// StoreAhead is a Store that begins a Write and lets the sink go on, so that it can prepare the next one meanwhile. The
// host's is one; found by assertion.
type StoreAhead interface {
	// Start is Write, and returns before it is done. The sink calls done once, which waits for the outcome, before it
	// starts or writes anything else, and changes none of the changes until then.
	Start(ctx context.Context, changes ...Change) (done func() ([]Changed, error))
}

// Change is one step of a Store.Write: an Insert, an Upsert, an Exec or a Once.
type Change interface{ change() }

// Row names columns and their values: nil, bool, int, int64, float64, string, []byte or time.Time.
type Row map[string]any

// Insert adds rows to a table; a duplicate key is a permanent error.
type Insert struct {
	Table string
	Rows  []Row // each with the same columns
	// Columns and Values are rows, too, in place of Rows and with less work for many: the values row by row, in the
	// order of Columns.
	Columns []string
	Values  []any
}

// Upsert adds rows, or updates those whose key columns are already there.
type Upsert struct {
	Table string
	Key   []string
	Rows  []Row // each with the same columns
	// Columns and Values are as in Insert.
	Columns []string
	Values  []any
}

// All gives the rows as Rows, whichever way they are written.
func (c Insert) All() []Row { return allRows(c.Rows, c.Columns, c.Values) }

// All gives the rows as Rows, whichever way they are written.
func (c Upsert) All() []Row { return allRows(c.Rows, c.Columns, c.Values) }

func allRows(rows []Row, columns []string, values []any) []Row {
	for len(columns) > 0 && len(values) >= len(columns) {
		row := make(Row, len(columns))
		for i, name := range columns {
			row[name] = values[i]
		}
		rows, values = append(rows, row), values[len(columns):]
	}
	return rows
}

// Exec runs one statement of the sink's own. Placeholders are ? for every database.
type Exec struct {
	SQL  string
	Args []any
	Want int64 // rows that must be affected, or the transaction is undone; -1 is any number
}

// Once applies Changes only when the sink has no receipt for (Source, ID), and writes the receipt in the same transaction.
// The answer says whether they were applied (Applied), were there already with the same hash (Duplicate), or are there
// with another hash (Conflict). A conflict does not undo the transaction.
type Once struct {
	Source  string
	ID      string
	Hash    string // Record.ContentHashHex
	Seq     uint64
	Changes []Change // no Once inside
}

func (Insert) change() {}
func (Upsert) change() {}
func (Exec) change()   {}
func (Once) change()   {}

// OnceFor is the Once of a record.
func OnceFor(r *Record, changes ...Change) Once {
	return Once{Source: r.Source, ID: r.ID, Hash: r.ContentHashHex(), Seq: r.Seq, Changes: changes}
}

// Changed is the answer to one Change.
type Changed struct {
	Outcome Outcome
	Rows    int64 // rows affected; for a Once those of its changes
}

// Outcome says what became of a Change.
type Outcome int

// Outcomes of a Change.
const (
	Applied   Outcome = iota // done now
	Duplicate                // Once only: this content was stored before; nothing was done
	Conflict                 // Once only: other content is stored under this identity; nothing was done
)

// Query is one bounded read. Placeholders are ? for every database.
type Query struct {
	SQL          string
	Args         []any
	MaxRows      int           // 0 is 1,000; at most 10,000
	CacheFor     time.Duration // 0 is no caching; an answer with rows may be this old, or as old as the host's own limit if that is shorter
	CacheNoneFor time.Duration // the same for an answer without rows, where CacheFor is set: at most that, and at most 1 minute; 0 is no caching of it
	Tables       []string      // tables that the answer rests on: a Write of this store to one of them drops the cached answer
}

// Result is a complete answer.
type Result struct {
	Columns []string
	Rows    [][]any // nil, bool, int64, float64, string, []byte or time.Time
	Cached  bool    // answered from the cache
}

// Cache is the host's cache, bounded in entries and bytes; an entry is never served after its time. Values above
// 64 KiB are not kept. Every call may fail when the host is gone; a miss is not an error. That something is not there
// can be kept like anything else: as an empty value, with a short ttl.
type Cache interface {
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error // ttl 0 is the host's own limit, which is also the maximum
	Drop(ctx context.Context, key string) error
}
