package tdstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Row is a row by the names of its columns.
type Row = map[string]any

// Tables keeps the rows that a script stores, as the database behind the server does: what a session changes within a
// transaction is seen by it alone, until Session.Commit keeps it; Rollback, a reset and the end of the connection throw
// it away. Outside a transaction a call stands at once. A call is one statement: it does all or nothing.
//
// A key that a transaction touches is locked until its end. A session that wants it waits, and gets ErrCanceled when
// its request is canceled, or error 1205 when the holder waits for it in turn. Readers never wait: they see what is
// committed, and their own changes.
type Tables struct {
	mu    sync.Mutex
	keys  map[string][]string
	rows  map[string]map[string]Row              // committed, by table and key
	dirty map[*Session]map[string]map[string]Row // of transactions; an empty row is deleted
	locks map[string]map[string]*Session         // by table and key
	waits map[*Session]*Session                  // who waits for whom
	freed chan struct{}                          // closed and replaced when locks are freed
}

// NewTables returns an empty database. Its tables are made by Key.
func NewTables() *Tables {
	return &Tables{
		keys: map[string][]string{}, rows: map[string]map[string]Row{}, dirty: map[*Session]map[string]map[string]Row{},
		locks: map[string]map[string]*Session{}, waits: map[*Session]*Session{}, freed: make(chan struct{}),
	}
}

// Key makes a table whose primary key has these columns, and returns t.
func (t *Tables) Key(table string, columns ...string) *Tables {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys[table], t.rows[table], t.locks[table] = columns, map[string]Row{}, map[string]*Session{}
	return t
}

// Insert adds rows; error 2627 if a key is there.
func (t *Tables) Insert(s *Session, table string, rows ...Row) (int64, error) {
	return t.change(s, table, rows, func(old, row Row) (Row, error) {
		if old != nil {
			return nil, SQLError(2627)
		}
		return row, nil
	})
}

// InsertMissing adds those rows whose key is not there and says how many: INSERT .. WHERE NOT EXISTS.
func (t *Tables) InsertMissing(s *Session, table string, rows ...Row) (int64, error) {
	return t.change(s, table, rows, func(old, row Row) (Row, error) {
		if old != nil {
			return nil, nil
		}
		return row, nil
	})
}

// Update sets the columns of those rows whose key is there and says how many.
func (t *Tables) Update(s *Session, table string, rows ...Row) (int64, error) {
	return t.change(s, table, rows, func(old, row Row) (Row, error) {
		if old == nil {
			return nil, nil
		}
		merged := maps.Clone(old)
		maps.Copy(merged, row)
		return merged, nil
	})
}

// Upsert is Update, and Insert of what is not there.
func (t *Tables) Upsert(s *Session, table string, rows ...Row) (int64, error) {
	return t.change(s, table, rows, func(old, row Row) (Row, error) {
		merged := maps.Clone(row)
		for column, v := range old {
			if _, set := row[column]; !set {
				merged[column] = v
			}
		}
		return merged, nil
	})
}

// Delete removes the rows with these keys and says how many there were.
func (t *Tables) Delete(s *Session, table string, keys ...Row) (int64, error) {
	return t.change(s, table, keys, func(old, _ Row) (Row, error) {
		if old == nil {
			return nil, nil
		}
		return Row{}, nil
	})
}

// Find returns the row with this key as the session sees it, or nil.
func (t *Tables) Find(s *Session, table string, key Row) (Row, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, err := t.key(table, key)
	if err != nil {
		return nil, err
	}
	return maps.Clone(t.see(s, table, k)), nil
}

// Rows returns what is committed, in the order of the keys as text.
func (t *Tables) Rows(table string) []Row {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []Row{}
	for _, k := range slices.Sorted(maps.Keys(t.rows[table])) {
		list = append(list, maps.Clone(t.rows[table][k]))
	}
	return list
}

// Count is the number of committed rows.
func (t *Tables) Count(table string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rows[table])
}

// change runs one statement: each gives the new row, nil to leave what is there, or an empty one to delete it.
func (t *Tables) change(s *Session, table string, rows []Row, each func(old, row Row) (Row, error)) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]string, len(rows))
	for i, row := range rows {
		var err error
		if keys[i], err = t.key(table, row); err != nil {
			return 0, err
		}
	}
	if !s.InTransaction() {
		defer t.drop(s)
	} else if !slices.Contains(s.tables, t) {
		s.tables = append(s.tables, t)
	}
	fresh, n := map[string]Row{}, int64(0)
	for i, k := range keys {
		if err := t.lock(s, table, k); err != nil {
			return 0, err
		}
		old, again := fresh[k]
		if !again {
			old = t.see(s, table, k)
		}
		now, err := each(present(old), maps.Clone(rows[i]))
		if err != nil {
			return 0, err
		}
		if now != nil {
			fresh[k] = now
			n++
		}
	}
	t.keep(s, table, fresh)
	return n, nil
}

// present is nil for a row that is deleted.
func present(r Row) Row {
	if len(r) == 0 {
		return nil
	}
	return r
}

// key gives the text of a row's key.
func (t *Tables) key(table string, row Row) (string, error) {
	columns, ok := t.keys[table]
	if !ok {
		return "", fmt.Errorf("find table %s: Key has not made it", table)
	}
	var k strings.Builder
	for _, c := range columns {
		v, ok := row[c]
		if !ok || v == nil {
			return "", fmt.Errorf("read key of table %s: the row has no %s", table, c)
		}
		fmt.Fprintf(&k, "%q", fmt.Sprint(v))
	}
	return k.String(), nil
}

// see returns the row as the session sees it.
func (t *Tables) see(s *Session, table, k string) Row {
	if r, ok := t.dirty[s][table][k]; ok {
		return present(r)
	}
	return t.rows[table][k]
}

// lock takes a key for the session; t.mu is free while it waits.
func (t *Tables) lock(s *Session, table, k string) error {
	defer delete(t.waits, s)
	for {
		holder := t.locks[table][k]
		if holder == nil || holder == s {
			t.locks[table][k] = s
			return nil
		}
		for h := holder; h != nil; h = t.waits[h] {
			if h == s {
				return SQLError(1205)
			}
		}
		t.waits[s] = holder
		freed := t.freed
		t.mu.Unlock()
		err := error(nil)
		select {
		case <-freed:
		case <-s.Canceled():
			err = ErrCanceled
		}
		t.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// keep notes the changes of a statement, for good where there is no transaction.
func (t *Tables) keep(s *Session, table string, fresh map[string]Row) {
	if t.dirty[s] == nil {
		t.dirty[s] = map[string]map[string]Row{}
	}
	if t.dirty[s][table] == nil {
		t.dirty[s][table] = map[string]Row{}
	}
	maps.Copy(t.dirty[s][table], fresh)
	if !s.InTransaction() {
		t.merge(s)
	}
}

func (t *Tables) merge(s *Session) {
	for table, changed := range t.dirty[s] {
		for k, r := range changed {
			if t.rows[table][k] = r; present(r) == nil {
				delete(t.rows[table], k)
			}
		}
	}
}

// drop forgets the changes of a session and frees its keys.
func (t *Tables) drop(s *Session) {
	delete(t.dirty, s)
	for _, held := range t.locks {
		maps.DeleteFunc(held, func(_ string, by *Session) bool { return by == s })
	}
	close(t.freed)
	t.freed = make(chan struct{})
}

func (t *Tables) commit(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.merge(s)
	t.drop(s)
}

func (t *Tables) rollback(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
}
