package dbpool_test

import (
	"errors"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool"
)

func TestFingerprint(t *testing.T) {
	for _, c := range []struct{ driver, in, print, text string }{
		{"sqlite", "SELECT  *\n FROM exam WHERE id=? AND name = 'O''Hara' -- Hong\n AND n>1.5e3", "SELECT * FROM exam WHERE id=? AND name = ? AND n>?", ""},
		{"sqlite", `UPDATE "exam" SET a = x'00ff', [b c?] = 0x1F, ` + "`d` = e1", `UPDATE "?" SET a = ?, [b c?] = ?, ` + "`d` = e1", ""},
		{"sqlite", "/* Hong */ INSERT INTO t2 VALUES (?, .5)", "INSERT INTO t2 VALUES (?, ?)", ""},
		{"sqlite", "SELECT ? -- Hong\r\n, ?", "SELECT ? , ?", ""},
		{"postgres", "SELECT ?, '?', \"?\", /* ? */ ? -- ?\n, ?", `SELECT ?, ?, "?", ? , ?`, "SELECT $1, '?', \"?\", /* ? */ $2 -- ?\n, $3"},
		{"postgres", "SELECT ARRAY['Hong', ?][1], a::int[]", "SELECT ARRAY[?, ?][?], a::int[]", "SELECT ARRAY['Hong', $1][1], a::int[]"},
		{"postgres", "SELECT doc @> '{}', doc #>> '{Hong}', doc -> 'Hong'", "SELECT doc @> ?, doc #>> ?, doc -> ?", ""},
		{"sqlserver", "SELECT TOP (?) [a?], N'Hong', 1_0, 1.5E3, .5 FROM dbo.t WHERE b = ?", "SELECT TOP (?) [a?], N?, ?, ?, ? FROM dbo.t WHERE b = ?", "SELECT TOP (@p1) [a?], N'Hong', 1_0, 1.5E3, .5 FROM dbo.t WHERE b = @p2"},
	} {
		if c.text == "" {
			c.text = c.in
		}
		if print, text, err := dbpool.Parse(c.driver, c.in); print != c.print || text != c.text || err != nil {
			t.Errorf("%s\n got %s\n and %s, %v\nwant %s\n and %s", c.in, print, text, err, c.print, c.text)
		}
	}
}

// TestDoubtfulStatementsAreRefused has what one database would end, or skip, where another one goes on.
func TestDoubtfulStatementsAreRefused(t *testing.T) {
	everywhere := []string{
		"SELECT 'a", `SELECT "a`, "SELECT :a", "SELECT @a", "SELECT $a", "SELECT $1", "SELECT ?2", "SELECT 1;;SELECT 2", "SELECT \x00", "",
		"SELECT $$;DELETE FROM exam;$$", "SELECT $a$;DELETE FROM exam;$a$", `SELECT E'\''; DELETE FROM exam; --'`, `SELECT e'\\'`,
		"/* /* */ SELECT 1 ; -- */ ; DELETE FROM exam", "SELECT 1 -- \r; DELETE FROM exam", "SELECT 1 -- \r '\n; DELETE FROM exam; -- '",
	}
	for driver, more := range map[string][]string{"sqlite": {"SELECT [a", "SELECT a::int", "SELECT a @> b"}, "postgres": {"SELECT ARRAY['a", "SELECT a @b"}, "sqlserver": {
		"SELECT [a]]'] COMMIT --'", "SELECT 1COMMIT", "SELECT 1eCOMMIT", "SELECT 0x1FOMMIT", "SELECT 1.COMMIT", "SELECT 1\u00a0COMMIT", "SELECT a\u3000COMMIT", "SELECT @@identity", "SELECT * FROM #t",
	}} {
		for _, in := range append(everywhere, more...) {
			if print, _, err := dbpool.Parse(driver, in); !errors.Is(err, dbpool.ErrRefused) {
				t.Errorf("%s: %q gave %q, %v", driver, in, print, err)
			}
		}
	}
}
