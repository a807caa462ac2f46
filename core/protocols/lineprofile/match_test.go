package lineprofile_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/lineprofile"
)

// TestMatchIsAsRegexp holds that the rules of the shipped profiles, and all that can be walked, match as package regexp does.
func TestMatchIsAsRegexp(t *testing.T) {
	other := []string{
		"", "a", "é", "aé*", `\d{1,3}`, `\d{1,3}\d`, `(\d+)(\.\d+)?`, `(a*)(b*)$`, `a*$`, `a*$b`, `[^|]*`, `[^|]{2}`, `[^é]*`, `.`, `.*x`, `.+`, `(.*)b`, `a|b`,
		`(?i)ab`, `(?i)[a-z]+`, `a+?b`, `^a`, `\bab`, `\s*(\S+)`, `(\S+) ?b?`, `x*y*(z*)`, `((a)(b))`, ` *a`, `[ab]?b`, `\PL+`, `(?s).+`, `[^\x00-\x{10FFFF}]`, `(a|b)c`,
		`a{0}b`, `(?:ab){2}`, `(\S+)x`, `(\S+)([- ])(\d+)`, `(\S*)[^|]+$`, `(\S+)(\PL*)`, `(a*)(ab?)`, `([a-z]{1,3}z)\|?`, `((\S+))(\S)`, `(.*)(\|[^|]*)$`, `(\S+)(1)`,
	}
	var shipped []string
	for _, name := range lineprofile.Shipped() {
		for _, r := range named(t, name).Rules {
			shipped = append(shipped, r.Match)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	letters := []string{"a", "b", "A", "x", "y", "z", "é", "ｱ", "|", " ", ".", "*", "-", "+", "=", "\n", "1", "2000", "R", "L", "I", "U", "PH", "SP", "KM|R1|", "S=", "OR", "C="}
	walked, matched := 0, 0
	for i, e := range slices.Concat(shipped, other) {
		bare, _, err := lineprofile.Matcher(e, false)
		if err != nil {
			t.Fatal(err)
		}
		behind, walks, err := lineprofile.Matcher(e, true)
		if err != nil {
			t.Fatal(err)
		}
		if walks && i < len(shipped) {
			walked++
		}
		for k := range 400 {
			text := ""
			if k%2 == 0 { // what stands at the beginning of the expression
				text = strings.Trim(e[:r.IntN(len(e)+1)], `\()[]?`)
				text = strings.ReplaceAll(text, `\`, "")
			}
			for range r.IntN(24) {
				text += letters[r.IntN(len(letters))]
			}
			match := bare
			if k%4 < 2 {
				match = behind
			}
			own, as := match(text)
			if !slices.Equal(own, as) || (own == nil) != (as == nil) {
				t.Fatalf("%q in %q: %v, want %v", e, text, own, as)
			}
			if own != nil {
				matched++
			}
		}
	}
	if walked < len(shipped) || matched < 3000 {
		t.Errorf("%d of %d shipped rules are walked, %d texts fit", walked, len(shipped), matched)
	}
}
