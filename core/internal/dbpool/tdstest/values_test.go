package tdstest_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-sql/civil"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

// echo replies with its first parameter, in a column of the type that was declared for it.
func echo(_ *tdstest.Session, r tdstest.Request) tdstest.Reply {
	if len(r.Params) == 0 {
		return tdstest.Reply{}
	}
	return tdstest.Rows([]tdstest.Column{{Name: "v", Type: strings.TrimPrefix(r.Decl, "@p1 ")}}, []any{r.Params[0].Value})
}

// long is text of n characters in which no part is like another.
func long(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString("값-")
		b.WriteString(time.Unix(int64(i), 0).UTC().Format(time.TimeOnly))
	}
	return b.String()
}

func TestParameters(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 30, 15, 123456700, time.FixedZone("", 9*3600))
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		give any
		decl string
		want any // nil: as given
	}{
		"int":                     {int32(-7), "int", int64(-7)},
		"bigint":                  {int64(math.MinInt64), "bigint", nil},
		"smallint":                {int16(-300), "smallint", int64(-300)},
		"tinyint":                 {byte(200), "tinyint", int64(200)},
		"bit":                     {true, "bit", nil},
		"float":                   {-1.25e300, "float", nil},
		"real":                    {float32(0.5), "real", 0.5},
		"nvarchar":                {"안과 👁", "nvarchar(5)", nil},
		"nvarchar empty":          {"", "nvarchar(max)", nil},
		"nvarchar(max)":           {mssql.NVarCharMax(long(300_000)), "nvarchar(max)", long(300_000)},
		"nvarchar(max) by length": {long(20_000), "nvarchar(max)", nil},
		"varchar":                 {mssql.VarChar("ascii"), "varchar(5)", "ascii"},
		"varbinary":               {[]byte{0, 1, 255}, "varbinary(3)", nil},
		"varbinary(max)":          {[]byte(long(50_000)), "varbinary(max)", nil},
		"datetimeoffset":          {at, "datetimeoffset(7)", nil},
		"datetime2":               {civil.DateTimeOf(at), "datetime2(7)", time.Date(2026, 3, 1, 9, 30, 15, 123456700, time.UTC)},
		"datetime":                {mssql.DateTime1(at.Truncate(time.Second)), "datetime", time.Date(2026, 3, 1, 9, 30, 15, 0, time.UTC)},
		"date":                    {civil.DateOf(at), "date", day},
		"before 1900":             {mssql.DateTime1(time.Date(1899, 12, 31, 12, 0, 0, 0, time.UTC)), "datetime", time.Date(1899, 12, 31, 12, 0, 0, 0, time.UTC)},
		"null of no type":         {nil, "nvarchar(1)", nil},
		"null bigint":             {sql.NullInt64{}, "bigint", nil},
		"null nvarchar":           {sql.NullString{}, "nvarchar(4000)", nil},
		"null float":              {sql.NullFloat64{}, "float", nil},
		"null time":               {sql.NullTime{}, "datetimeoffset(7)", nil},
	}
	srv := tdstest.Start(t, tdstest.Config{Script: echo})
	db := open(t, srv)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got any
			if err := db.QueryRowContext(t.Context(), "echo @p1", test.give).Scan(&got); err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want == nil && !strings.HasPrefix(name, "null") {
				want = test.give
			}
			seen := srv.Requests()[len(srv.Requests())-1]
			if seen.Kind != tdstest.RPC || seen.Proc != "sp_executesql" || seen.Text != "echo @p1" || seen.Decl != "@p1 "+test.decl {
				t.Errorf("request %v %s %q %q", seen.Kind, seen.Proc, seen.Text, seen.Decl)
			}
			if !same(seen.Param("@P1"), want) {
				t.Errorf("server got %v, want %v", seen.Param("@p1"), want)
			}
			if !same(got, want) {
				t.Errorf("client got %v, want %v", got, want)
			}
		})
	}
}

func same(got, want any) bool {
	a, isTime := got.(time.Time)
	b, wantTime := want.(time.Time)
	if isTime && wantTime {
		return a.Equal(b)
	}
	return reflect.DeepEqual(got, want)
}

func TestRows(t *testing.T) {
	columns := tdstest.Columns("id bigint", "n int", "eye nchar(2)", "ok bit", "f float", "sphere decimal(5,2)", "at datetime2(3)", "raw varbinary(max)", "doc nvarchar(max)", "key uniqueidentifier")
	at := time.Date(2026, 3, 1, 9, 30, 15, 120_000_000, time.UTC)
	full := []any{json.Number("9007199254740993"), 3, "OD", true, 0.1, "-12.75", at.Format(time.RFC3339Nano), []byte{1, 2}, "검사", "00112233-4455-6677-8899-aabbccddeeff"}
	srv := scripted(t, map[string]tdstest.Reply{
		"two": tdstest.Rows(columns, full, make([]any, len(columns))).Then(tdstest.Affected(4)).Then(tdstest.Rows(tdstest.Columns("n int"), []any{1})),
	})
	rows, err := open(t, srv).QueryContext(t.Context(), "two sets")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := []any{int64(9007199254740993), int64(3), "OD", true, 0.1, []byte("-12.75"), at, []byte{1, 2}, "검사", []byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}
	for _, want := range [][]any{want, make([]any, len(columns))} {
		got, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range got {
			to[i] = &got[i]
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !same(got[i], want[i]) {
				t.Errorf("column %s: got %v, want %v", columns[i].Name, got[i], want[i])
			}
		}
	}
	if rows.Next() || !rows.NextResultSet() || !rows.Next() || rows.Next() || rows.Err() != nil {
		t.Errorf("the second set: %v", rows.Err())
	}
}

func TestScriptAtFault(t *testing.T) {
	tests := map[string]tdstest.Reply{
		"type":   tdstest.Rows(tdstest.Columns("a bignumber"), []any{1}),
		"scale":  tdstest.Rows(tdstest.Columns("a datetime2(9)"), []any{1}),
		"args":   tdstest.Rows(tdstest.Columns("a int(4)"), []any{1}),
		"value":  tdstest.Rows(tdstest.Columns("a int", "b bit"), []any{1, "x"}),
		"length": tdstest.Rows(tdstest.Columns("a nvarchar(2)"), []any{"abc"}),
		"width":  tdstest.Rows(tdstest.Columns("a int"), []any{1}, []any{1, 2}),
		"error":  tdstest.Fail(context.DeadlineExceeded),
	}
	for name, reply := range tests {
		t.Run(name, func(t *testing.T) {
			srv, err := tdstest.Open(t.Context(), tdstest.Config{Script: func(*tdstest.Session, tdstest.Request) tdstest.Reply { return reply }})
			if err != nil {
				t.Fatal(err)
			}
			defer srv.Close()
			db := open(t, srv)
			if _, err := db.ExecContext(t.Context(), "any text"); number(err) != 50000 {
				t.Errorf("the client got %v", err)
			}
			if srv.Err() == nil {
				t.Error("the server does not know of it")
			}
			db.Close()
		})
	}
}
