package dbpool_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

// played is a server of SQL Server's protocol that knows the texts of the dialect and keeps rows: it shows that the real
// driver carries them, not that SQL Server takes them. For that there is the flag of sqlserverOf.
type played struct {
	*tdstest.Server
	rows  *tdstest.Tables
	level int // compatibility level

	mu      sync.Mutex
	version int // guarded by mu
	own     func(*tdstest.Session, tdstest.Request) tdstest.Reply
}

// playedTables are the tables with their key and their columns, as the catalog has them.
var playedTables = []struct {
	name    string
	key     []string
	columns []playedColumn
}{
	{"visit", []string{"chart"}, []playedColumn{
		{"chart", "nvarchar(20) COLLATE Korean_Wansung_CI_AS", 20},
		{"room", "varchar(10) COLLATE Korean_Wansung_CI_AS", 10},
		{"score", "decimal(8,2)", 0},
		{"at", "datetime2(3)", 0},
		{"seen", "bit", 0},
		{"n", "int", 0},
		{"photo", "varbinary(max)", 0},
		{"uid", "uniqueidentifier", 0},
		{"mark", "binary(4)", 4},
		{"place", "geography", 0},
	}},
	{"pair", []string{"a", "b"}, []playedColumn{{"a", "varchar(10) COLLATE Latin1_General_CI_AS", 10}, {"b", "bigint", 0}}},
	{"ingest_receipt", []string{"source", "record_id", "sink"}, []playedColumn{
		{"source", "nvarchar(160) COLLATE Latin1_General_100_BIN2", 160},
		{"record_id", "nvarchar(512) COLLATE Latin1_General_100_BIN2", 512},
		{"sink", "nvarchar(160) COLLATE Latin1_General_100_BIN2", 160},
		{"content_hash", "nvarchar(max) COLLATE Korean_Wansung_CI_AS", 0},
		{"seq", "bigint", 0},
		{"first_seen", "datetimeoffset(7)", 0},
		{"rows", "bigint", 0},
	}},
}

type playedColumn struct {
	name, kind string
	most       int
}

func play(t *testing.T, level int, cfg tdstest.Config) *played {
	t.Helper()
	p := &played{rows: tdstest.NewTables(), level: level}
	for _, table := range playedTables {
		p.rows.Key(table.name, table.key...)
	}
	cfg.Script = p.answer
	p.Server = tdstest.Start(t, cfg)
	return p
}

func (p *played) options(options ...string) dbpool.Options {
	return dbpool.Options{Driver: "sqlserver", DSN: p.DSN(options...), MaxOpen: 2}
}

func (p *played) answer(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
	switch {
	case strings.HasPrefix(r.Text, "BEGIN TRANSACTION; SET XACT_ABORT ON; SET LOCK_TIMEOUT 5000"):
		s.Begin()
		s.XactAbort(true)
		return tdstest.Reply{}
	case r.Text == "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION":
		if s.InTransaction() {
			return failed(0, s.Rollback())
		}
		return tdstest.Reply{}
	case strings.Contains(r.Text, "sys.") || strings.Contains(r.Text, "schema_version") || strings.Contains(r.Text, "sp_getapplock") || strings.HasPrefix(r.Text, "\nCREATE"):
		return p.catalog(r)
	case strings.HasPrefix(r.Text, "SELECT record_id, content_hash FROM ingest_receipt"):
		return p.receipts(s, r)
	case p.own != nil && !strings.Contains(r.Text, "AS j"):
		return p.own(s, r)
	default:
		return p.write(s, r)
	}
}

func (p *played) catalog(r tdstest.Request) tdstest.Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.Contains(r.Text, "compatibility_level"):
		return tdstest.Rows(tdstest.Columns("level int"), []any{p.level})
	case strings.Contains(r.Text, "max(version)"):
		return tdstest.Rows(tdstest.Columns("version int"), []any{p.version})
	case strings.HasPrefix(r.Text, "INSERT INTO schema_version"):
		p.version++
	case strings.Contains(r.Text, "FROM sys.objects AS o JOIN sys.schemas"):
		reply := tdstest.Rows(tdstest.Columns("s sysname", "t sysname", "bare bit"))
		for _, t := range playedTables {
			reply.Results[0].Rows = append(reply.Results[0].Rows, []any{"dbo", t.name, true})
		}
		return reply
	case strings.Contains(r.Text, "FROM sys.columns"):
		reply := tdstest.Rows(tdstest.Columns("name sysname", "type nvarchar(300)", "most int", "nullable bit"))
		for _, c := range tableOf(r.Param("@p2")).columns {
			reply.Results[0].Rows = append(reply.Results[0].Rows, []any{c.name, c.kind, c.most, true})
		}
		return reply
	case strings.Contains(r.Text, "FROM sys.indexes"):
		reply := tdstest.Rows(tdstest.Columns("id int", "name sysname"))
		for _, k := range tableOf(r.Param("@p2")).key {
			reply.Results[0].Rows = append(reply.Results[0].Rows, []any{1, k})
		}
		return reply
	case strings.Contains(r.Text, "sys.foreign_keys"):
		return tdstest.Rows(tdstest.Columns("n int"), []any{0})
	}
	return tdstest.Reply{}
}

func tableOf(name any) (t struct {
	name    string
	key     []string
	columns []playedColumn
},
) {
	for _, t := range playedTables {
		if t.name == name {
			return t
		}
	}
	return t
}

// receipts answers from what is committed and what the session itself wrote.
func (p *played) receipts(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
	var ids []any
	if strings.Contains(r.Text, "OPENJSON") {
		for _, id := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(r.Param("@p3").(string), -1) {
			ids = append(ids, id[1])
		}
	} else {
		for _, param := range r.Params[2:] {
			ids = append(ids, param.Value)
		}
	}
	reply := tdstest.Rows(tdstest.Columns("record_id nvarchar(512)", "content_hash nvarchar(max)"))
	for _, id := range ids {
		for _, sink := range []any{r.Param("@p2"), ""} {
			row, err := p.rows.Find(s, "ingest_receipt", tdstest.Row{"source": r.Param("@p1"), "record_id": id, "sink": sink})
			if err != nil {
				return tdstest.Fail(err)
			}
			if row != nil {
				reply.Results[0].Rows = append(reply.Results[0].Rows, []any{id, row["content_hash"]})
			}
		}
	}
	return reply
}

var (
	insertForm = regexp.MustCompile(`INSERT INTO ("?\w+"?) \(([^)]*)\) SELECT`)
	fromValues = regexp.MustCompile(`\(VALUES .*?\) AS v \(n`)
)

// write keeps the rows of an insert or upsert.
func (p *played) write(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
	m := insertForm.FindStringSubmatch(r.Text)
	if m == nil {
		return tdstest.Fail(fmt.Errorf("a text that is not known: %s", r.Text))
	}
	table, columns := strings.Trim(m[1], `"`), strings.Split(strings.ReplaceAll(m[2], `"`, ""), ",")
	var rows []tdstest.Row
	var err error
	if fromValues.MatchString(r.Text) {
		for params := range slices.Chunk(r.Params, len(columns)) {
			row := tdstest.Row{}
			for i, param := range params {
				row[columns[i]] = param.Value
			}
			rows = append(rows, row)
		}
	} else if rows, err = document(r, columns); err != nil {
		return tdstest.Fail(err)
	}
	var n int64
	if strings.Contains(r.Text, "NOT EXISTS") {
		n, err = p.rows.Upsert(s, table, rows...)
	} else {
		n, err = p.rows.Insert(s, table, rows...)
	}
	return failed(n, err)
}

// document reads the rows as OPENJSON does, and the bytes beside them.
func document(r tdstest.Request, columns []string) (rows []tdstest.Row, err error) {
	sent, err := tdstest.ParseRows(r.Param("@p1"))
	if err != nil {
		return nil, err
	}
	blob, _ := r.Param("@p2").([]byte)
	for _, in := range sent {
		row := tdstest.Row{}
		for i, name := range columns {
			row[name] = in[fmt.Sprint("c", i)]
			if at, there := in[fmt.Sprint("o", i)]; there {
				var first, n int
				if _, err := fmt.Sscan(fmt.Sprint(at), &first); err != nil {
					return nil, err
				}
				if _, err := fmt.Sscan(fmt.Sprint(in[fmt.Sprint("l", i)]), &n); err != nil || first < 1 || first-1+n > len(blob) {
					return nil, errors.Join(err, errors.New("bytes beyond the end"))
				}
				row[name] = blob[first-1 : first-1+n]
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func failed(n int64, err error) tdstest.Reply {
	if err != nil {
		return tdstest.Fail(err)
	}
	return tdstest.Affected(n)
}
