package dbpool

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxFingerprint is the longest fingerprint in bytes that is kept for the log.
const maxFingerprint = 200

// statement is what is known of one SQL text before it is run.
type statement struct {
	text   string // as the database takes it
	print  string // the text without literals, comments and spare space, at most maxFingerprint bytes
	words  string // the same, whole
	first  string // its first word, in capitals
	params int    // number of ? in it
}

// statements are those that were read lately, by their texts.
type statements struct {
	mu sync.RWMutex
	by map[string]*statement // guarded by mu
}

func (s *statements) find(sql string) *statement {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by[sql]
}

func (s *statements) keep(sql string, st *statement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil || len(s.by) >= maxKept {
		s.by = map[string]*statement{}
	}
	s.by[sql] = st
}

// parse reads a sink's SQL, or knows it from before.
func (d *dialect) parse(sql string) (*statement, error) {
	if st := d.known.find(sql); st != nil {
		return st, nil
	}
	st, err := d.scan(sql)
	if err == nil && len(sql) <= maxKeptText {
		d.known.keep(sql, st)
	}
	return st, err
}

// scan gives a sink's SQL the placeholders of the database. It refuses what no database of ours would run alike, or
// what is more than one statement.
func (d *dialect) scan(sql string) (*statement, error) {
	s := scanner{in: sql, operators: d.operators}
	for s.at < len(s.in) && s.bad == "" {
		s.token()
	}
	st := &statement{text: d.marked(sql, s.params), words: strings.TrimSpace(s.out.String()), params: len(s.params)}
	st.print = cut(st.words, maxFingerprint)
	word, _, _ := strings.Cut(st.words, " ")
	st.first = strings.ToUpper(strings.TrimRight(word, "("))
	switch {
	case s.bad != "":
		return nil, refused("read statement: %s", s.bad)
	case st.words == "":
		return nil, refused("read statement: it is empty")
	}
	return st, nil
}

// marked puts the database's placeholders in place of those at the offsets.
func (d *dialect) marked(sql string, at []int) string {
	if len(at) == 0 || d.mark(1) == "?" {
		return sql
	}
	var b strings.Builder
	done := 0
	for i, p := range at {
		b.WriteString(sql[done:p] + d.mark(i+1))
		done = p + 1
	}
	b.WriteString(sql[done:])
	return b.String()
}

// cut shortens a text to n bytes at the bound of a letter.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// fill checks the arguments against the statement and gives them the form in which the database gets them.
func (d *dialect) fill(st *statement, args []any) ([]any, error) {
	if len(args) != st.params {
		return nil, refused("run %s: it has %d placeholders and %d arguments", st.print, st.params, len(args))
	}
	if len(args) > d.variables {
		return nil, refused("run %s: it has %d arguments; the database takes %d", st.print, len(args), d.variables)
	}
	out := make([]any, len(args))
	for i, a := range args {
		v, err := toStored(a)
		if err != nil {
			return nil, refused("run %s: argument %d: %v", st.print, i, err)
		}
		if d.argument != nil {
			v = d.argument(v)
		}
		out[i] = v
	}
	return out, nil
}

func (st *statement) begins(words []string) bool { return slices.Contains(words, st.first) }

// mentions says whether the statement has the word in it, anywhere outside of its literals.
func (st *statement) mentions(word string) bool {
	return strings.Contains(strings.ToLower(st.words), word)
}

// scanner walks an SQL text token by token. It knows SQL's quoting, not its grammar.
type scanner struct {
	in        string
	operators bool // see dialect
	at        int
	out       strings.Builder
	ended     bool  // a semicolon was read
	params    []int // offsets of placeholders
	bad       string
}

func (s *scanner) token() {
	c, rest := s.in[s.at], s.in[s.at:]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
		s.at++
		s.space()
		return
	case strings.HasPrefix(rest, "--"):
		s.skip(rest, "\n", len("\n"))
		return
	case strings.HasPrefix(rest, "/*"):
		s.skip(rest[2:], "*/", len("/**/"))
		return
	case s.ended && c != ';':
		s.bad = "only one statement may be sent at a time"
		return
	}
	switch {
	case c == 0:
		s.bad = "there is a zero byte in it"
	case c == ';':
		s.ended = true
		s.at++
	case c == '\'':
		s.quoted(c, "?")
	case c == '"':
		s.quoted(c, `"?"`)
	case c == '`':
		s.quoted(c, "")
	case c == '[' && !s.operators:
		s.bracket(rest)
	case c == '?' || c == ':' || c == '@' || c == '$' || c == '#':
		s.placeholder(c)
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		s.number()
	case isWord(c):
		s.word()
	default:
		s.out.WriteByte(c)
		s.at++
	}
}

func (s *scanner) space() {
	if n := s.out.Len(); n > 0 && s.out.String()[n-1] != ' ' && !s.ended {
		s.out.WriteByte(' ')
	}
}

// skip passes a comment that ends with mark; more is the length of its marks. Databases differ in where some comments
// end; what one would skip and another run is refused.
func (s *scanner) skip(rest, mark string, more int) {
	n := strings.Index(rest, mark)
	inside := rest
	if n >= 0 {
		inside = rest[:n]
	}
	switch {
	case mark == "*/" && strings.Contains(inside, "/*"):
		s.bad = "a comment begins inside a comment"
	case mark == "\n" && strings.Contains(strings.TrimSuffix(inside, "\r"), "\r"):
		s.bad = "a line of a comment ends with a carriage return alone"
	}
	if n < 0 {
		s.at = len(s.in)
	} else {
		s.at += n + more
	}
	s.space()
}

// quoted passes a quoted token, in which the quote stands twice for itself, and writes show for it, or it as it is.
func (s *scanner) quoted(q byte, show string) {
	start := s.at
	for s.at++; s.at < len(s.in); s.at++ {
		if s.in[s.at] != q {
			continue
		}
		if s.at+1 < len(s.in) && s.in[s.at+1] == q {
			s.at++
			continue
		}
		s.at++
		if show == "" {
			show = s.in[start:s.at]
		}
		s.out.WriteString(show)
		return
	}
	s.bad = "a quote in it is not closed"
}

func (s *scanner) bracket(rest string) {
	n := strings.IndexByte(rest, ']')
	if n < 0 {
		s.bad = "a bracket in it is not closed"
		return
	}
	s.out.WriteString(rest[:n+1])
	s.at += n + 1
	if strings.HasPrefix(rest[n+1:], "]") { // one database goes on with the name, another ends it
		s.bad = "a name in brackets has a bracket in it"
	}
}

func (s *scanner) placeholder(c byte) {
	rest := s.in[s.at+1:]
	named := rest != "" && isWord(rest[0])
	switch {
	case c == '?' && !named:
		s.params = append(s.params, s.at)
		s.out.WriteByte('?')
	case c == ':' && strings.HasPrefix(rest, ":") && s.operators:
		s.out.WriteString("::")
		s.at++
	case (c == '@' || c == '#' || c == ':') && !named && s.operators:
		s.out.WriteByte(c)
	default:
		s.bad = "placeholders are ? without a number or a name"
	}
	s.at++
}

// numbers are those that every database reads as one: where one takes 1a for a number, another takes the a for a word.
var numbers = regexp.MustCompile(`^(0[xX][0-9A-Fa-f]+|[0-9_]*\.?[0-9_]*([eE][0-9_]*)?)$`)

func (s *scanner) number() {
	start := s.at
	for s.at < len(s.in) && (isWord(s.in[s.at]) || s.in[s.at] == '.') {
		s.at++
	}
	if !numbers.MatchString(s.in[start:s.at]) {
		s.bad = "a number in it has letters"
	}
	s.out.WriteByte('?')
}

func (s *scanner) word() {
	start := s.at
	for s.at < len(s.in) && isWord(s.in[s.at]) {
		s.at++
	}
	w := s.in[start:s.at]
	if strings.ContainsFunc(w, unicode.IsSpace) { // part of a name to one database, a space to another
		s.bad = "there is a space in it that is not one of ASCII"
	}
	quoted := s.at < len(s.in) && s.in[s.at] == '\''
	if (w == "e" || w == "E") && quoted {
		s.bad = "texts with escapes, as in E'...', are not known to every database"
	}
	if (w == "x" || w == "X") && quoted {
		return // the quoted digits that follow stand for it
	}
	s.out.WriteString(w)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || c >= 0x80 || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
