package dbpool_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
	"github.com/hostd/hostd/core/sdk"
)

// fullVisit has a value of each form, and bytes of which one is empty.
func fullVisit(chart string, photo []byte) sdk.Row {
	return sdk.Row{
		"chart": chart, "room": "2", "score": 1e21, "at": time.Date(2026, 3, 2, 18, 30, 0, 123456789, time.FixedZone("KST", 9*3600)),
		"seen": true, "n": 7, "photo": photo, "mark": []byte{}, "uid": nil,
	}
}

// TestSQLServerWrites has rows of every form on their way through the real driver, as JSON and as parameters.
func TestSQLServerWrites(t *testing.T) {
	for _, level := range []int{130, 110} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			p := play(t, level, tdstest.Config{})
			s := runs(t, p.options()).Store("emr")
			once := func(id, chart string) sdk.Once {
				return sdk.Once{Source: "lab", ID: id, Hash: "h" + id, Seq: 9, Changes: []sdk.Change{
					sdk.Upsert{Table: "VISIT", Key: []string{"Chart"}, Rows: []sdk.Row{fullVisit(chart, []byte("a\x00b"))}},
				}}
			}
			var changes []sdk.Change
			for n := range 300 {
				changes = append(changes, once(fmt.Sprint(n), fmt.Sprintf("눈 \"%d\"\\", n)))
			}
			for round, want := range []sdk.Outcome{sdk.Applied, sdk.Duplicate} {
				for i, c := range mustWrite(t, s, changes...) {
					if c.Outcome != want || want == sdk.Applied && c.Rows != 1 {
						t.Fatalf("round %d, change %d: %+v", round, i, c)
					}
				}
			}
			if out := mustWrite(t, s, sdk.Once{Source: "lab", ID: "1", Hash: "other"}); out[0].Outcome != sdk.Conflict {
				t.Errorf("other content: outcome %d", out[0].Outcome)
			}
			rows := p.rows.Rows("visit")
			if len(rows) != 300 || p.rows.Count("ingest_receipt") != 300 {
				t.Fatalf("%d visits, %d receipts", len(rows), p.rows.Count("ingest_receipt"))
			}
			got := rows[0]
			mark, _ := got["mark"].([]byte)
			photo, _ := got["photo"].([]byte)
			if got["chart"] != `눈 "0"\` || string(photo) != "a\x00b" || mark == nil || len(mark) != 0 || got["uid"] != nil ||
				got["score"] != "1000000000000000000000" || got["at"] != "2026-03-02T09:30:00.1234567" || fmt.Sprintf("%v %v", got["seen"], got["n"]) != "true 7" {
				t.Errorf("row %#v", got)
			}
			if r := p.rows.Rows("ingest_receipt")[0]; r["sink"] != "emr" || fmt.Sprintf("%v %v", r["seq"], r["rows"]) != "9 1" || !strings.HasSuffix(fmt.Sprint(r["first_seen"]), "+00:00") {
				t.Errorf("receipt %#v", r)
			}
			for _, r := range p.Requests() {
				if len(r.Params) > 2098 || level == 110 && strings.Contains(r.Text, "OPENJSON") {
					t.Errorf("%d parameters for %s", len(r.Params), r.Text)
				}
			}
		})
	}
}

// TestSQLServerTexts are the statements whole. A change of one is a change of what a server gets that is not here.
func TestSQLServerTexts(t *testing.T) {
	const visit = `OPENJSON(@p1) WITH (n int, c0 nvarchar(max), o1 bigint, l1 bigint, c2 nvarchar(max), c3 decimal(8,2))`
	for name, c := range map[string]struct {
		level  int
		change sdk.Change
		want   string
	}{
		"insert": {
			130,
			sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "a", "room": "1", "score": 1, "photo": []byte("x")}}},
			`INSERT INTO "visit" ("chart","photo","room","score") SELECT j.c0,SUBSTRING(@p2, j.o1, j.l1),j.c2,j.c3 FROM (SELECT * FROM ` + visit + `) AS j ORDER BY j.n`,
		},
		"upsert": {
			130,
			sdk.Upsert{Table: "visit", Key: []string{"chart"}, Rows: []sdk.Row{{"chart": "a", "room": "1", "score": 1, "photo": []byte("x")}}},
			`UPDATE t SET "photo"=SUBSTRING(@p2, j.o1, j.l1),"room"=j.c2,"score"=j.c3 FROM "visit" AS t WITH (UPDLOCK, HOLDLOCK) INNER JOIN ` +
				`(SELECT *, ROW_NUMBER() OVER (PARTITION BY CONVERT(nvarchar(4000),c0 COLLATE Korean_Wansung_CI_AS) ORDER BY n DESC) AS turn FROM ` + visit + `) AS j` +
				` ON j.turn=1 AND t."chart"=CONVERT(nvarchar(4000),j.c0 COLLATE Korean_Wansung_CI_AS); ` +
				`INSERT INTO "visit" ("chart","photo","room","score") SELECT j.c0,SUBSTRING(@p2, j.o1, j.l1),j.c2,j.c3 FROM ` +
				`(SELECT *, ROW_NUMBER() OVER (PARTITION BY CONVERT(nvarchar(4000),c0 COLLATE Korean_Wansung_CI_AS) ORDER BY n DESC) AS turn FROM ` + visit + `) AS j` +
				` WHERE j.turn=1 AND NOT EXISTS (SELECT 1 FROM "visit" AS t WITH (UPDLOCK, HOLDLOCK) WHERE t."chart"=CONVERT(nvarchar(4000),j.c0 COLLATE Korean_Wansung_CI_AS)) ORDER BY j.n`,
		},
		"nothing but the key": {
			130,
			sdk.Upsert{Table: "pair", Key: []string{"b", "a"}, Rows: []sdk.Row{{"a": "x", "b": 1}}},
			`INSERT INTO "pair" ("a","b") SELECT j.c0,j.c1 FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY c1,CONVERT(varchar(8000),c0 COLLATE Latin1_General_CI_AS) ORDER BY n DESC) AS turn` +
				` FROM OPENJSON(@p1) WITH (n int, c0 nvarchar(max), c1 bigint)) AS j WHERE j.turn=1 AND NOT EXISTS` +
				` (SELECT 1 FROM "pair" AS t WITH (UPDLOCK, HOLDLOCK) WHERE t."b"=j.c1 AND t."a"=CONVERT(varchar(8000),j.c0 COLLATE Latin1_General_CI_AS)) ORDER BY j.n`,
		},
		"letters that a code page may lack": {
			130,
			sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "a", "room": "눈"}}},
			`IF EXISTS (SELECT 1 FROM OPENJSON(@p1) WITH (n int, c0 nvarchar(max), c1 nvarchar(max)) WHERE CONVERT(nvarchar(max),CONVERT(varchar(max),c1 COLLATE Korean_Wansung_CI_AS))` +
				` COLLATE Latin1_General_100_BIN2 <> c1 COLLATE Latin1_General_100_BIN2) BEGIN; THROW 50421, N'room', 1; END; ` +
				`INSERT INTO "visit" ("chart","room") SELECT j.c0,j.c1 FROM (SELECT * FROM OPENJSON(@p1) WITH (n int, c0 nvarchar(max), c1 nvarchar(max))) AS j ORDER BY j.n`,
		},
		"parameters": {
			120,
			sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "a", "photo": []byte("x")}, {"chart": "b", "photo": nil}}},
			`INSERT INTO "visit" ("chart","photo") SELECT j.c0,j.c1 FROM (SELECT * FROM (VALUES (0,CONVERT(nvarchar(max),@p1),CONVERT(varbinary(max),@p2)),` +
				`(1,CONVERT(nvarchar(max),@p3),CONVERT(varbinary(max),@p4))) AS v (n,c0,c1)) AS j ORDER BY j.n`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := play(t, c.level, tdstest.Config{})
			mustWrite(t, runs(t, p.options()).Store("emr"), c.change)
			found := false
			for _, r := range p.Requests() {
				if !strings.Contains(r.Text, "INSERT INTO \"") {
					continue
				}
				found = true
				if r.Text != c.want || r.Kind != tdstest.RPC {
					t.Errorf("the server got\n%s\nwant\n%s", r.Text, c.want)
				}
				if c.level >= 130 && !strings.HasPrefix(r.Decl, "@p1 nvarchar(max)") || strings.Contains(r.Text, "@p2,") && !strings.HasSuffix(r.Decl, "@p2 varbinary(max)") {
					t.Errorf("declared as %s", r.Decl)
				}
			}
			if !found {
				t.Error("nothing was written")
			}
		})
	}
}

// TestSQLServerIsNotSentWhatDoesNotFit also has a text that fits only without the blanks at its end.
func TestSQLServerIsNotSentWhatDoesNotFit(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	s := runs(t, p.options()).Store("emr")
	const mark = "HONG-700101-1234567-long"
	for _, c := range []struct {
		column string
		in     any
	}{
		{"chart", mark},
		{"chart", strings.Repeat("𝄞", 11)}, // each is two of UTF-16
		{"room", strings.Repeat("눈", 11)},
		{"room", mark + "\x00"},
		{"mark", []byte("HONG!")},
		{"n", mark},
		{"seen", mark},
		{"uid", mark},
		{"uid", "6b1f5c1e-0000-4000-8000-000000000001" + mark},
		{"place", mark},
	} {
		row := sdk.Row{"chart": "b", c.column: c.in}
		_, err := s.Write(t.Context(), sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "a"}}}, sdk.Insert{Table: "visit", Rows: []sdk.Row{row}})
		var ce *sdk.ChangeError
		if !errors.As(err, &ce) || ce.Index != 1 || !errors.Is(err, dbpool.ErrRefused) || sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("%s: %v", c.column, err)
			continue
		}
		if !strings.Contains(err.Error(), "write to visit: column "+c.column+": ") || strings.Contains(err.Error(), "HONG") {
			t.Errorf("%s: says %v", c.column, err)
		}
	}
	for _, key := range [][]string{{"room"}, {"chart", "room"}} {
		_, err := s.Write(t.Context(), sdk.Upsert{Table: "visit", Key: key, Rows: []sdk.Row{visit("a")}})
		if sdk.ClassOf(err) != sdk.ClassPermanent || !strings.Contains(fmt.Sprint(err), "not the primary key") {
			t.Errorf("key %v: %v", key, err)
		}
	}
	for _, r := range p.Requests() {
		if strings.Contains(r.Text, "INSERT INTO \"") && strings.Contains(fmt.Sprint(r.Params), "HONG") {
			t.Error("a value was sent that does not fit")
		}
	}
	mustWrite(t, s, sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "fits" + strings.Repeat(" ", 30), "uid": "6b1f5c1e-0000-4000-8000-000000000001"}}})
	if got := p.rows.Rows("visit"); len(got) != 1 || got[0]["chart"] != "fits" {
		t.Errorf("rows %v", got)
	}
}

// TestSQLServerTriesConflictsAgain has two deadlocks, then a lock that is not given up, and each time an end.
func TestSQLServerTriesConflictsAgain(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	pool := runs(t, p.options())
	s := pool.Store("emr")
	inserting := func(r tdstest.Request) bool { return strings.Contains(r.Text, `INTO "visit"`) }
	for i, number := range []int32{1205, 1222, 3960} {
		p.Inject(tdstest.Fault{Do: tdstest.Refuse, Err: tdstest.SQLError(number), When: inserting, Times: 2})
		mustWrite(t, s, insertVisit(fmt.Sprint(i)))
	}
	if st := pool.Stats(); st.Repeats != 6 || p.rows.Count("visit") != 3 {
		t.Errorf("%d repeats, %d rows", st.Repeats, p.rows.Count("visit"))
	}
	p.Inject(tdstest.Fault{Do: tdstest.Refuse, Err: tdstest.SQLError(1205), When: inserting, Times: 4})
	if _, err := s.Write(t.Context(), insertVisit("x")); sdk.ClassOf(err) != sdk.ClassBusy || !strings.Contains(err.Error(), "1205") {
		t.Errorf("a fourth conflict: %v", err)
	}
	if c := p.Counts(); c.Ever > 2 {
		t.Errorf("%d connections were made", c.Ever)
	}
}

// TestSQLServerErrorsOfAWrite has each class on its way through the driver, in words full of a value.
func TestSQLServerErrorsOfAWrite(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	s := runs(t, p.options()).Store("emr")
	for _, c := range []struct {
		number  int32
		message string
		class   sdk.Class
		is      error
		text    string
	}{
		{2627, "Violation of PRIMARY KEY constraint 'PK_HONG'. Cannot insert duplicate key in object 'dbo.visit'. The duplicate key value is (HONG).", sdk.ClassPermanent, dbpool.ErrDuplicate, "duplicate key: visit (error 2627)"},
		{2601, "Cannot insert duplicate key row in object 'dbo.visit' with unique index 'HONG'.", sdk.ClassPermanent, dbpool.ErrDuplicate, "duplicate key: visit (error 2601)"},
		{515, "Cannot insert the value NULL into column 'chart', table 'clinic.dbo.visit'; column does not allow nulls. HONG", sdk.ClassPermanent, nil, "has none: visit.chart (error 515)"},
		{547, "The INSERT statement conflicted with the FOREIGN KEY constraint \"HONG\".", sdk.ClassPermanent, nil, "foreign key"},
		{2628, "String or binary data would be truncated in table 'clinic.dbo.visit', column 'room'. Truncated value: 'HONG'.", sdk.ClassPermanent, nil, "longer than its column takes: visit.room (error 2628)"},
		{8152, "String or binary data would be truncated.", sdk.ClassPermanent, nil, "longer than its column takes"},
		{50421, "room", sdk.ClassPermanent, nil, "it is not Unicode: room (error 50421)"},
		{50421, "HONG", sdk.ClassPermanent, nil, "it is not Unicode (error 50421)"},
		{50001, "HONG", sdk.ClassPermanent, nil, "a trigger"},
		{229, "HONG", sdk.ClassUnavailable, nil, "grant it the right"},
		{9002, "HONG", sdk.ClassUnavailable, dbpool.ErrFull, "log of the database is full"},
		{824, "HONG", sdk.ClassUnavailable, dbpool.ErrDamaged, "damaged"},
		{40501, "HONG", sdk.ClassUnavailable, nil, "busy"},
		{12345, "HONG", sdk.ClassNone, nil, "answered with an error (error 12345)"},
	} {
		e := tdstest.SQLError(c.number)
		e.Message = c.message
		refusal := p.Inject(tdstest.Fault{Do: tdstest.Refuse, Err: e, When: func(r tdstest.Request) bool { return strings.Contains(r.Text, `INTO "visit"`) }, Times: -1})
		_, err := s.Write(t.Context(), sdk.Insert{Table: "visit", Rows: []sdk.Row{{"chart": "HONG", "room": "1"}}})
		if sdk.ClassOf(err) != c.class || c.is != nil && !errors.Is(err, c.is) || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%d: class %s, %v; want %s, %q", c.number, sdk.ClassOf(err), err, c.class, c.text)
		}
		if strings.Contains(fmt.Sprint(err), "HONG") {
			t.Errorf("%d says %v", c.number, err)
		}
		refusal.Remove()
	}
	mustWrite(t, s, insertVisit("after"))
}

func TestAnswersOfSQLServer(t *testing.T) {
	p := play(t, 130, tdstest.Config{})
	at := time.Date(2026, 3, 2, 18, 30, 0, 1200, time.FixedZone("KST", 9*3600))
	p.own = func(*tdstest.Session, tdstest.Request) tdstest.Reply {
		return tdstest.Rows(tdstest.Columns("n int", "d decimal(8,2)", "id uniqueidentifier", "b varbinary(20)", "s nvarchar(20)", "at datetimeoffset(7)", "yes bit", "f float", "none int"),
			[]any{7, "-12.50", "6b1f5c1e-0000-4000-8000-00000000000a", []byte("12.50"), "홍길동", at, true, 2.5, nil})
	}
	got := query(t, runs(t, p.options()).Store("emr"), "SELECT 1")[0]
	want := []any{int64(7), "-12.50", "6B1F5C1E-0000-4000-8000-00000000000A", []byte("12.50"), "홍길동", at.UTC(), true, 2.5, nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", got, want)
	}
}
