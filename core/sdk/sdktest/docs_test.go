package sdktest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestContractNamesItsTests holds that each test and rule which docs/contract.md names exists.
func TestContractNamesItsTests(t *testing.T) {
	const root = "../../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "contract.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		text, err := os.ReadFile(p)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(string(page), -1)
	if len(names) < 40 {
		t.Errorf("the page names only %d tests", len(names))
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "func "+name+"(") {
			t.Errorf("the page names %s, which is no test", name)
		}
	}
	rules := map[string]bool{}
	for _, r := range deviceRules() {
		rules[r.name] = true
	}
	for _, r := range sinkRules() {
		rules[r.name] = true
	}
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(page), "")
	text := strings.Join(strings.Fields(prose), " ")
	for name := range rules {
		if !strings.Contains(text, "*"+name+"*") {
			t.Errorf("the page does not name the rule %q", name)
		}
	}
	for _, m := range regexp.MustCompile(`\*([a-z][^*|]+)\*`).FindAllStringSubmatch(text, -1) {
		if !rules[m[1]] {
			t.Errorf("the page names the rule %q, which does not exist", m[1])
		}
	}
}
