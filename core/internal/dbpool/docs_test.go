package dbpool_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/dbpool"
)

// TestThePageIsRight compares docs/schema.md with the tables that are made, and runs its examples.
func TestThePageIsRight(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/schema.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(raw), "\r\n", "\n")
	for _, driver := range []string{"sqlite", "postgres", "sqlserver"} {
		for i, m := range dbpool.Migrations(driver) {
			if !strings.Contains(page, strings.TrimPrefix(m, "\n")) {
				t.Errorf("the page does not have the DDL of version %d of %s", i+1, driver)
			}
		}
	}
	each(t, func(t *testing.T, d *database) {
		o := d.fresh(t, dbpool.Options{})
		s := runs(t, o).Store("emr")
		mustWrite(t, s, onceOf(1, nil), onceOf(2, nil))
		for _, table := range []string{"record", "exam", "observation", "attachment", "ingest_receipt"} {
			columns := query(t, s, d.columns, table)
			if len(columns) == 0 {
				t.Errorf("there is no table %s", table)
			}
			for _, col := range columns {
				if !regexp.MustCompile(`(?m)^\|[^|]*\b` + col[0].(string) + `\b[^|]*\|`).MatchString(page) {
					t.Errorf("the page does not explain %s.%s", table, col[0])
				}
			}
		}
		examples := 0
		for _, m := range regexp.MustCompile("(?s)```sql\n(SELECT .*?)```").FindAllStringSubmatch(page, -1) {
			if !d.tsql { // another dialect, for which the page has no examples
				query(t, s, m[1])
			}
			examples++
		}
		if examples != 3 {
			t.Errorf("%d examples, want 3", examples)
		}
	})
}
