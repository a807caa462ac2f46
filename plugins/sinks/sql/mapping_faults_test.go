package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// faultsOf are the faults of settings, one line each.
func faultsOf(t *testing.T, settings string) []string {
	t.Helper()
	_, err := newClinic(t).tryOpen(settings)
	if err == nil {
		return nil
	}
	if !errors.Is(err, sdk.ErrSettings) {
		t.Fatalf("open says %v, want ErrSettings", err)
	}
	_, list, _ := strings.Cut(err.Error(), sdk.ErrSettings.Error()+": ")
	return strings.Split(list, "\n")
}

// TestEveryFaultIsNamed has a mapping with a fault in each line, which are told all at once and in order.
func TestEveryFaultIsNamed(t *testing.T) {
	got := faultsOf(t, `
schema: mapped
zone: Nowhere/City
tables:
  - name: dbo.a.b
    rows: observation
    key: [EYE, SHOTT, EYE]
    where: {code: [], eye: [OD], kind: [exam]}
    columns:
      EYE: exam.eye
      SHOT: observation.seq
      A: observation.value
      B: {from: observation.value, as: nummer}
      C: {from: observation.value, as: decimal(12)}
      D: {from: observation.eye, map: {R: OD, L: 2}}
      E: {from: observation.eye, map: {R: OD}, as: text}
      F: {from: observation.eye, map: x}
      G: {from: observation.eye, value: 1}
      H: {form: observation.eye}
      I: {value: true}
      J: {value: 1, required: true}
      K: {from: observation.eye, required: yes please, default: R}
      L: {from: observation.seq, default: many}
      M: {from: observation.seq, unfit: null_}
      N: 5
      O: []
      P: [observation.eye, 5]
      Q: patient.birthday
      R: attachment.name
      S: eye
      T: {from: observation.eye, with: [patient.id], cache: 1m, cache_missing: 1s, tables: [T]}
      U: [observation.eye, observation.seq]
      V: {from: observation.eye, map: {R: 1, L: 2}, default: none}
      W: {from: observation.eye, default: 5}
      "X;": observation.eye
      shot: observation.seq
      " Y": observation.eye
      Z: {from: record.raw, as: text}
  - name: record
    rows: record
    where: {code: [iop], seq: summary, source: []}
    columns: {A: obs(sphere), B: obs(spere R), C: obs(), D: obs(sphere R L), E: obs(sphere R).vlaue, F: obs sphere R, G: 'obs(sphere R final auto)', H: 'obs(sphere R 1 2)', I: obs(va R), J: 'obs(sphere R Final)', K: 'obs(sphere R -1)'}
  - name: " T"
    rows: eye
    where: {eye: [B, R]}
    key: [P]
    columns:
      P: record.raw
      A: {lookup: 5}
      B: {lookup: "DELETE FROM PATIENT WHERE NO = ?", with: [patient.id]}
      C: {lookup: "SELECT NO FROM PATIENT WHERE ID = ? AND X = '?' -- ?", with: []}
      D: {lookup: SELECT NO FROM PATIENT, with: [patient.no], cache: soon}
      E: {lookup: SELECT NO FROM PATIENT, cache: 30m}
      F: {lookup: SELECT NO FROM dbo.PATIENT, cache: 30m, tables: [PATIENTS]}
      G: {lookup: SELECT NO FROM dbo.PATIENT, cache: 30h, tables: dbo.PATIENT}
      H: {lookup: SELECT NO FROM PATIENT, as: text, from: eye}
      K: {lookup: SELECT NO FROM PATIENT, cache: 1h, cache_missing: 61s, tables: [PATIENT]}
      L: {lookup: SELECT NO FROM PATIENT, cache_missing: 5s}
      I: obs(sphere)
`)
	want := []string{
		`tables[0].columns. Y: is empty, or has a blank at an end`,
		`tables[0].columns.A: may be a number or a text, or is of different kinds: say which, as in {from: observation.value, as: number}`,
		`tables[0].columns.B.as: must be one of text, number, integer, time, utc, date, decimal(2)`,
		`tables[0].columns.C.as: must be decimal(0) to decimal(9)`,
		`tables[0].columns.D.map: must give either texts or numbers, not both`,
		`tables[0].columns.E.as: has no meaning beside map, which says what comes out`,
		`tables[0].columns.EYE: unknown field "exam.eye"; did you mean "observation.eye"?`,
		`tables[0].columns.F.map: must name what stands for each text: {R: OD, L: OS}`,
		`tables[0].columns.G: must have one of from, value and lookup`,
		`tables[0].columns.H: must have one of from, value and lookup`,
		`tables[0].columns.H.form: unknown key; did you mean "from"?`,
		`tables[0].columns.I.value: must be a text or a number; for yes and no write what the column has, such as 1 or 'Y'`,
		`tables[0].columns.J.required: has no meaning beside value`,
		`tables[0].columns.K.required: must be true or false`,
		`tables[0].columns.L.default: is not a whole number, and the column is integer`,
		`tables[0].columns.M.unfit: must be dead (the record becomes a dead letter) or missing (as if there were no value)`,
		`tables[0].columns.N: must be a source such as patient.id; a value that is always the same is written {value: 1}`,
		`tables[0].columns.O: must have 1 to 16 sources`,
		`tables[0].columns.P[1]: must be a source such as patient.id; a value that is always the same is written {value: 1}`,
		`tables[0].columns.Q: unknown field "patient.birthday"; did you mean "patient.birth"?`,
		`tables[0].columns.R: attachment.name is there where a row is an attachment, and here it is an observation`,
		`tables[0].columns.S: eye is there where a row is an eye, and here it is an observation`,
		`tables[0].columns.T.cache: belongs to lookup`,
		`tables[0].columns.T.cache_missing: belongs to lookup`,
		`tables[0].columns.T.tables: belongs to lookup`,
		`tables[0].columns.T.with: belongs to lookup`,
		`tables[0].columns.U: may be a number or a text, or is of different kinds: say which, as in {from: [...], as: number}`,
		`tables[0].columns.V.default: must be of the kind that map gives: integer`,
		`tables[0].columns.W.default: is not a text, and the column is text`,
		`tables[0].columns.X;: has a character that no name of a table or column may have here: quotes, brackets, a dot or a semicolon`,
		`tables[0].columns.Z.as: has no meaning for bytes`,
		`tables[0].columns.shot: is the column SHOT again: databases do not tell small and capital letters apart`,
		`tables[0].key[1]: is not in columns; did you mean "SHOT"?`,
		`tables[0].key[2]: is there twice`,
		`tables[0].name: has more than one dot: write the table, or its schema and the table`,
		`tables[0].where.code: is empty: name one, or leave the key out`,
		`tables[0].where.eye[0]: must be R or L, or B for both`,
		`tables[0].where.kind: is always exam where a row is an observation`,
		`tables[1].columns.A: obs() must name the eye (R, L, or B for both), because a row is a record`,
		`tables[1].columns.B: unknown code "spere"; did you mean "sphere"?; a code that is not hostd's own is written in quotes: obs("79892-6" R)`,
		`tables[1].columns.C: obs() names no observation: write obs(sphere R)`,
		`tables[1].columns.D: obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)`,
		`tables[1].columns.E: obs() has no field "vlaue"; did you mean "value"?`,
		`tables[1].columns.F: unknown field`,
		`tables[1].columns.G: obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)`,
		`tables[1].columns.H: obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)`,
		`tables[1].columns.I: may be a number or a text, or is of different kinds: say which, as in {from: obs(va R), as: number}`,
		`tables[1].columns.J: obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)`,
		`tables[1].columns.K: obs() has a word too many; it has a code, an eye (R, L or B), a method and a number, such as obs(sphere R final 1)`,
		`tables[1].name: is a table of hostd's own; one of yours with this name is written with its schema: dbo.record`,
		`tables[1].where.code: is about observations, and a row is a record here`,
		`tables[1].where.seq: is about observations, and a row is a record here`,
		`tables[1].where.source: is empty: name one, or leave the key out`,
		`tables[2].columns.A.lookup: must be a SELECT of at most 4000 letters`,
		`tables[2].columns.B.lookup: must begin with SELECT`,
		`tables[2].columns.C.with: must have a source for each ? of the lookup: it has 0 sources for 1`,
		`tables[2].columns.D.cache: must be a time with its unit, at most 24h: write for example "30m"`,
		`tables[2].columns.D.with[0]: unknown field "patient.no"; did you mean "patient.id"?`,
		`tables[2].columns.E.tables: is required with cache: the tables that the lookup reads, so that what hostd writes there is seen at once`,
		`tables[2].columns.F.tables[0]: is not in the lookup`,
		`tables[2].columns.G.cache: must be a time with its unit, at most 24h: write for example "30m"`,
		`tables[2].columns.H: must have one of from, value and lookup`,
		`tables[2].columns.K.cache_missing: must be a time with its unit, at most 1m: write for example "5s"`,
		`tables[2].columns.L.cache: is required with cache_missing: how long what was found holds`,
		`tables[2].key[0]: is of bytes, by which no row can be found`,
		`tables[2].name: is empty, or has a blank at an end`,
		`tables[2].where.eye[0]: must be R or L`,
		`zone: this computer does not know it: write the distance to UTC, such as +09:00, or leave it out for this computer's own`,
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too much: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("fault %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
}

func TestSettingsOfAMapping(t *testing.T) {
	const table = "{name: T, rows: record, columns: {A: record.id}}"
	many := strings.Repeat(table+", ", maxTables+1)
	var wide strings.Builder
	for i := range maxColumns + 1 {
		fmt.Fprintf(&wide, "C%d: record.id, ", i)
	}
	for _, c := range []struct {
		settings string
		want     []string
	}{
		{"schema: mapped\ntables: [" + table + "]", nil},
		{"schema: mapped\nzone: UTC\ntables: [" + table + "]", nil},
		{"schema: mapped\nzone: \"-0330\"\ntables: [" + table + "]", []string{"zone: this computer does not know it: write the distance to UTC, such as +09:00, or leave it out for this computer's own"}},
		{"schema: mapped", []string{"tables: is required with schema: mapped: a list of the tables to write"}},
		{"schema: mapped\ntables: []", []string{"tables: is required with schema: mapped: a list of the tables to write"}},
		{"tables: [" + table + "]", []string{"tables: is for schema: mapped; write that, or leave the key out"}},
		{"zone: +01:00", []string{"zone: is for schema: mapped; write that, or leave the key out"}},
		{"schema: mapped\ntables: [" + many + "]", []string{"tables: has more than 64 entries"}},
		{"schema: mapped\ntables: [{name: T, rows: record, columns: {" + wide.String() + "}}]", []string{"tables[0].columns: must have 1 to 256 columns"}},
		{"schema: mapped\ntables: [{name: T, rows: record, columns: {}}]", []string{"tables[0].columns: must have 1 to 256 columns"}},
		{
			"schema: mapped\ntables: [{name: T, row: record, columns: [A]}]", []string{
				"tables[0].columns: must be a block: write its keys below it, each with its value",
				"tables[0].row: unknown setting; known: name, rows, key, where, columns",
				"tables[0].rows: is required: what makes a row: each record, exam, eye of an exam, observation or attachment",
			},
		},
		{
			"schema: mapped\ntables: [" + table + ", {name: t, rows: record, key: [a], columns: {a: record.seq, B: record.id}}]", []string{
				"tables[1].columns.a: is integer here and text in tables[0], which is the same table",
				"tables[1].key: is another one than in tables[0], which is the same table",
			},
		},
		{"schema: mapped\ntables: [" + table + `, {name: t, rows: record, columns: {a: {lookup: "SELECT 1"}}}]`, nil},
		{"schema: mapped\ntables: [{name: " + strings.Repeat("x", 129) + ", rows: record, columns: {A: record.id}}]", []string{"tables[0].name: is longer than 128 bytes"}},
	} {
		if got := faultsOf(t, c.settings); !slices.Equal(got, c.want) {
			t.Errorf("%.200s\nis   %q\nwant %q", c.settings, got, c.want)
		}
	}
}

// Faults never quote what may be a secret or a patient.
func TestFaultsHaveNoValues(t *testing.T) {
	const mark = "4711 MARKED"
	for _, column := range []string{
		"'" + mark + "'", "{value: ['" + mark + "']}", "{from: '" + mark + "'}", "{from: patient.id, as: '" + mark + "'}", "{from: record.seq, default: '" + mark + "'}",
		"{lookup: 'DELETE " + mark + "'}", "{lookup: 'SELECT ?, 4711', with: '" + mark + "'}", "{lookup: SELECT 1, cache: '" + mark + "', tables: ['" + mark + "']}",
		"{from: patient.id, unfit: '" + mark + "', required: '" + mark + "'}", "'obs(" + mark + ")'", "'obs(sphere R).4711'",
	} {
		got := faultsOf(t, "schema: mapped\ntables: [{name: T, rows: record, key: ['"+mark+"'], columns: {A: "+column+"}}]")
		if len(got) < 2 || strings.Contains(strings.Join(got, "\n"), "4711") {
			t.Errorf("%s: %q", column, got)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	for sql, want := range map[string]int{
		"": 0, "SELECT ?": 1, "SELECT ?, ?": 2, "SELECT '?', \"?\", `?`, [?], ?": 1, "SELECT 'it''s ?', ?": 1, "SELECT ? -- ?\n, ?": 2, "SELECT ? /* ? */ + ?": 2,
		"SELECT '?": 0, "SELECT ? -- ?": 1, "a - b ? / c": 1,
	} {
		if got := placeholders(sql); got != want {
			t.Errorf("%s: %d placeholders, want %d", sql, got, want)
		}
	}
}

// needed is a mapping with each kind of column.
const needed = `
  - name: dbo.VISIT
    rows: exam
    key: [ID, "No of eye"]
    columns:
      ID: record.id
      No of eye: {value: 1}
      TEXT: {from: patient.name, required: true}
      NUM: obs(sphere R)
      DEC: {from: obs(sphere R), as: decimal(2)}
      INT: record.seq
      TIME: exam.taken_at
      UTC: {from: record.received, as: utc}
      DAY: patient.birth
      RAW: record.raw
      ASKED: {lookup: SELECT 1}
      SEX: {from: patient.sex, map: {M: 1, F: 2}, default: 0}
  - name: log
    rows: record
    columns: {ID: record.id, DEC: {from: obs(sphere R), as: decimal(1)}, ANY: {lookup: SELECT 1}}
  - name: LOG
    rows: record
    columns: {id: record.id, DEC: {from: obs(iop R), as: decimal(3)}, any: record.kind, N: {value: 1}}
`

func needsOf(t *testing.T) []tableNeed {
	t.Helper()
	return newClinic(t).open(needed).mapping.needs()
}

func TestNeeds(t *testing.T) {
	var got []string
	for _, n := range needsOf(t) {
		got = append(got, n.name+" "+strings.Join(n.key, "+"))
		for _, c := range n.columns {
			got = append(got, fmt.Sprintf("%s %s %d %v", c.name, c.kind, c.decimals, c.required))
		}
	}
	want := []string{
		"dbo.VISIT ID+No of eye",
		"ASKED anything -1 false", "DAY date -1 false", "DEC number 2 false", "ID text -1 true", "INT integer -1 false", "NUM number -1 false", "No of eye integer -1 true",
		"RAW bytes -1 false", "SEX integer -1 true", "TEXT text -1 true", "TIME time -1 false", "UTC utc -1 false",
		"log ",
		"ANY text -1 false", "DEC number 3 false", "ID text -1 false", "N integer -1 false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("needs are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// loose is a table whose columns take anything, and which every row is found in by the key.
func loose(dialect, name string, columns, key []string) sdk.Table {
	t := sdk.Table{Database: dialect, Name: name, Keys: [][]string{key}}
	if dialect == "postgres" {
		t.Name = strings.ToLower(name)
	}
	for _, c := range columns {
		t.Columns = append(t.Columns, sdk.Column{Name: c, Type: "any", Nullable: true})
	}
	return t
}

func TestMissing(t *testing.T) {
	full := map[string][]string{"dbo.VISIT": {"id", "NO OF EYE", "text", "num", "int", "day", "raw", "asked", "sex", "more"}, "log": {"any", "dec", "id", "n"}}
	for _, c := range []struct {
		dialect string
		have    map[string][]string
		want    string
	}{
		{"sqlite", full, `ALTER TABLE "dbo"."VISIT" ADD COLUMN "DEC" REAL;
ALTER TABLE "dbo"."VISIT" ADD COLUMN "TIME" TEXT;
ALTER TABLE "dbo"."VISIT" ADD COLUMN "UTC" TEXT;`},
		{"postgres", full, `ALTER TABLE "dbo"."visit" ADD COLUMN "dec" numeric(15,2);
ALTER TABLE "dbo"."visit" ADD COLUMN "time" timestamp;
ALTER TABLE "dbo"."visit" ADD COLUMN "utc" timestamptz;`},
		{"sqlserver", full, `ALTER TABLE [dbo].[VISIT] ADD [DEC] DECIMAL(15,2);
ALTER TABLE [dbo].[VISIT] ADD [TIME] DATETIME2(3);
ALTER TABLE [dbo].[VISIT] ADD [UTC] DATETIMEOFFSET(3);`},
		{"sqlserver", map[string][]string{"log": full["log"]}, `CREATE TABLE [dbo].[VISIT] (
  [ASKED] NVARCHAR(MAX),
  [DAY] DATE,
  [DEC] DECIMAL(15,2),
  [ID] NVARCHAR(128) NOT NULL,
  [INT] BIGINT,
  [NUM] FLOAT,
  [No of eye] BIGINT NOT NULL,
  [RAW] VARBINARY(MAX),
  [SEX] BIGINT NOT NULL,
  [TEXT] NVARCHAR(MAX) NOT NULL,
  [TIME] DATETIME2(3),
  [UTC] DATETIMEOFFSET(3),
  PRIMARY KEY ([ID], [No of eye])
);`},
		{"postgres", map[string][]string{"log": full["log"]}, `CREATE TABLE "dbo"."visit" (
  "asked" text,
  "day" date,
  "dec" numeric(15,2),
  "id" text NOT NULL,
  "int" bigint,
  "num" double precision,
  "no of eye" bigint NOT NULL,
  "raw" bytea,
  "sex" bigint NOT NULL,
  "text" text NOT NULL,
  "time" timestamp,
  "utc" timestamptz,
  PRIMARY KEY ("id", "no of eye")
);`},
		{"sqlite", map[string][]string{"dbo.VISIT": append(full["dbo.VISIT"], "DEC", "TIME", "UTC")}, `CREATE TABLE "log" (
  "ANY" TEXT,
  "DEC" REAL,
  "ID" TEXT,
  "N" INTEGER
);`},
	} {
		i := &inspection{tables: catalogFunc(func(name string) (sdk.Table, error) {
			if c.have[name] == nil {
				return sdk.Table{Database: c.dialect}, nil
			}
			return loose(c.dialect, name, c.have[name], []string{"No of eye", "id"}), nil
		})}
		var got []string
		for _, n := range needsOf(t) {
			if err := i.table(t.Context(), &n); err != nil {
				t.Error(err)
			}
		}
		for _, f := range i.found {
			got = append(got, f.Proposal)
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.dialect, strings.Join(got, "\n"), c.want)
		}
	}
}
