package lineprofile

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// matcher finds an expression at the beginning of a text. Nearly all rules are a row of letters, classes and repetitions of
// these in which one look at the next byte says how to go on, but for one repetition at most: they are walked byte by byte, in
// a tenth of the time that package regexp takes for any expression. The groups are the same.
type matcher struct {
	re     *regexp.Regexp
	steps  []step // behind the blanks; nil: re must do it
	blanks bool   // may stand before it
}

// maxTries bounds the time of a walk.
const maxTries = 8

// step is a letter or class, so and so many times, or a word; or the end of the text; or nothing, for its slot alone.
type step struct {
	word       string
	set        *[256]bool
	min, max   int  // max is -1 where there is none
	doubt      bool // it may have to take less than it finds
	end        bool // of the text
	open, shut int  // slots of the groups that begin before and end behind it; 0, which find sets last, is none
}

// compile makes ready the expression, behind blanks where they say nothing.
func compile(expression string, blanks bool) (*matcher, error) {
	begin := "^(?:"
	if blanks {
		begin = "^ *(?:"
	}
	re, err := regexp.Compile(begin + expression + ")")
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	m := &matcher{re: re, blanks: blanks}
	steps, ok := row([]step{}, tree)
	if ok && !(blanks && !certain(&[256]bool{' ': true}, steps)) && doubts(steps) <= 1 {
		m.steps = steps
	}
	return m, nil
}

// slots is how many places find sets.
func (m *matcher) slots() int { return 2*m.re.NumSubexp() + 2 }

// find sets at, which has room for the slots, to where the match and its groups are, as package regexp has it. The text has
// so many blanks before it.
func (m *matcher) find(text string, blanks int, at []int) bool {
	if m.steps == nil {
		return m.regexp(text, at)
	}
	if !m.blanks {
		blanks = 0
	}
	return m.walk(m.steps, text, blanks, at)
}

func (m *matcher) regexp(text string, at []int) bool {
	return copy(at, m.re.FindStringSubmatchIndex(text)) > 0
}

// walk does the steps from text[i] on.
func (m *matcher) walk(steps []step, text string, i int, at []int) bool {
	for k := range steps {
		s := &steps[k]
		at[s.open] = i
		switch {
		case s.set != nil:
			end := len(text)
			if s.max >= 0 {
				end = min(end, i+s.max)
			}
			least, set := i+s.min, s.set
			for i < end && set[text[i]] {
				i++
			}
			if i < least {
				return false
			}
			if s.doubt {
				return m.less(steps[k:], text, least, i, at)
			}
		case len(s.word) == 1: // in half the time
			if i == len(text) || text[i] != s.word[0] {
				return false
			}
			i++
		case s.word != "":
			if !strings.HasPrefix(text[i:], s.word) {
				return false
			}
			i += len(s.word)
		case s.end && i < len(text):
			return false
		}
		at[s.shut] = i
	}
	at[0], at[1] = 0, i
	return true
}

// less does the steps behind the first one, which can take text up to i, or less. The longest is to be tried first; after some
// package regexp does it in one go.
func (m *matcher) less(steps []step, text string, least, i int, at []int) bool {
	for tries := 0; i >= least; i-- {
		if i < len(text) && !utf8.RuneStart(text[i]) {
			continue
		}
		if tries++; tries > maxTries {
			return m.regexp(text, at)
		}
		at[steps[0].shut] = i
		if m.walk(steps[1:], text, i, at) {
			return true
		}
	}
	return false
}

// row adds the steps of an expression, if it is a row of them.
func row(steps []step, tree *syntax.Regexp) (all []step, ok bool) {
	switch tree.Op {
	case syntax.OpEmptyMatch:
		return steps, true
	case syntax.OpEndText:
		return append(steps, step{end: true}), true
	case syntax.OpCapture:
		inner, ok := row(nil, tree.Sub[0])
		if len(inner) != 1 || inner[0].open > 0 {
			inner = append(append([]step{{open: 2 * tree.Cap}}, inner...), step{shut: 2*tree.Cap + 1})
		} else {
			inner[0].open, inner[0].shut = 2*tree.Cap, 2*tree.Cap+1
		}
		return append(steps, inner...), ok
	case syntax.OpConcat:
		for _, sub := range tree.Sub {
			if steps, ok = row(steps, sub); !ok {
				return nil, false
			}
		}
		return steps, true
	case syntax.OpLiteral:
		return append(steps, step{word: string(tree.Rune)}), tree.Flags&syntax.FoldCase == 0
	case syntax.OpStar:
		return repeated(steps, tree, 0, -1)
	case syntax.OpPlus:
		return repeated(steps, tree, 1, -1)
	case syntax.OpQuest:
		return repeated(steps, tree, 0, 1)
	case syntax.OpRepeat:
		return repeated(steps, tree, tree.Min, tree.Max)
	default:
		set, letters := class(tree)
		return append(steps, step{set: set, min: 1, max: 1}), set != nil && !letters
	}
}

// repeated adds a repetition of one letter or class.
func repeated(steps []step, tree *syntax.Regexp, least, most int) ([]step, bool) {
	set, letters := class(tree.Sub[0])
	countable := !letters || least <= 1 && most < 0 // of letters of several bytes only how many bytes they are is known
	return append(steps, step{set: set, min: least, max: most}), set != nil && countable && tree.Flags&syntax.NonGreedy == 0
}

// class is the set of bytes of a letter or class; letters are that it has those of several bytes, too, all of them. Nil is
// that it is neither, or has some of them.
func class(tree *syntax.Regexp) (set *[256]bool, letters bool) {
	runes := tree.Rune
	switch {
	case tree.Op == syntax.OpAnyChar:
		runes = []rune{0, unicode.MaxRune}
	case tree.Op == syntax.OpAnyCharNotNL:
		runes = []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	case tree.Op == syntax.OpLiteral && len(runes) == 1 && tree.Flags&syntax.FoldCase == 0:
		runes = []rune{runes[0], runes[0]}
	case tree.Op != syntax.OpCharClass:
		return nil, false
	}
	set = &[256]bool{}
	for i := 0; i < len(runes); i += 2 {
		low, high := runes[i], runes[i+1]
		if high >= utf8.RuneSelf {
			if low > utf8.RuneSelf || high < unicode.MaxRune {
				return nil, false
			}
			letters, high = true, 255
		}
		for c := low; c <= high; c++ {
			set[c] = true
		}
	}
	return set, letters
}

// doubts notes which repetitions may have to take less than they find, and how many that are.
func doubts(steps []step) (n int) {
	for i := range steps {
		if s := &steps[i]; s.set != nil && s.min != s.max && !certain(s.set, steps[i+1:]) {
			s.doubt = true
			n++
		}
	}
	return n
}

// certain says whether a repetition can take all it finds: what it takes is nothing with which the rest could begin.
func certain(set *[256]bool, rest []step) bool {
	for _, next := range rest {
		if next.word != "" {
			return !set[next.word[0]]
		}
		if next.set == nil {
			continue // a group, or the end, which no byte is
		}
		for c := range next.set {
			if next.set[c] && set[c] {
				return false
			}
		}
		if next.min > 0 {
			break
		}
	}
	return true
}
