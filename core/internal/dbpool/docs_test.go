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
	for i, m := range dbpool.Migrations() {
		if !strings.Contains(page, strings.TrimPrefix(m, "\n")) {
			t.Errorf("the page does not have the DDL of version %d", i+1)
		}
	}
	s := running(t, dbpool.Options{}).Store("emr")
	mustWrite(t, s, onceOf(1, nil), onceOf(2, nil))
	tables := query(t, s, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	for _, row := range tables {
		for _, col := range query(t, s, "SELECT name FROM pragma_table_info(?)", row[0]) {
			if row[0] != "schema_version" && !regexp.MustCompile(`(?m)^\|[^|]*\b`+col[0].(string)+`\b[^|]*\|`).MatchString(page) {
				t.Errorf("the page does not explain %s.%s", row[0], col[0])
			}
		}
	}
	examples := 0
	for _, m := range regexp.MustCompile("(?s)```sql\n(SELECT .*?)```").FindAllStringSubmatch(page, -1) {
		query(t, s, m[1])
		examples++
	}
	if examples != 3 {
		t.Errorf("%d examples, want 3", examples)
	}
}
