package main_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSimulatePage runs the instruments of docs/simulate.md, and holds that every command and flag on it exists.
func TestSimulatePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newClinic(t, "")
	c.write("in/topcon/here", "")
	c.write("in/nidek/here", "")
	lines := regexp.MustCompile(`(?m)^hostd (simulate|capture) .*$`).FindAllString(string(page), -1)
	if len(lines) < 10 {
		t.Fatalf("the page has only %d commands", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(line)[1:]
		if words[0] == "simulate" {
			c.must(words...)
			continue
		}
		help := c.must(words[0], words[1], "--help")
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "-") && !strings.Contains(help, w+" ") && !strings.Contains(help, w+",") {
				t.Errorf("%s: there is no %s", line, w)
			}
		}
	}
	if n := len(c.below("in", "topcon/*.xml")); n != 3 {
		t.Errorf("%d files in topcon", n)
	}
}
