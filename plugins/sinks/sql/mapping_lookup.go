package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// lookup is a question to the database, whose answer is one value.
type lookup struct {
	sql     string
	with    []source
	tables  []string
	cache   time.Duration
	missing time.Duration // that nothing was found is cached; 0 is not at all
	slot    int           // in scope.answers; -1 where it differs between the rows of a record
}

// answer is what a look-up found for one record.
type answer struct {
	asked bool
	value any
}

// lookup reads a look-up.
func (c *compiler) lookup(key string, t *tableMap, col *column, block map[string]any) {
	l := &lookup{slot: -1}
	col.kind = kindAny
	before := len(c.list)
	text, ok := block["lookup"].(string)
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case !ok || len(text) > maxSQL:
		c.add(key+".lookup", "must be a SELECT of at most %d letters", maxSQL)
	case !strings.EqualFold(first, "select") && !strings.EqualFold(first, "with"):
		c.add(key+".lookup", "must begin with SELECT")
	}
	l.sql = text
	l.with = c.with(key+".with", t, block["with"])
	if n := placeholders(text); ok && len(c.list) == before && n != len(l.with) {
		c.add(key+".with", "must have a source for each ? of the lookup: it has %d sources for %d", len(l.with), n)
	}
	c.caching(key, l, block)
	col.patient = slices.ContainsFunc(l.with, func(s source) bool { return s.patient })
	if !slices.ContainsFunc(l.with, func(s source) bool { return s.varies }) {
		l = c.once(l)
	}
	col.lookup = l
}

// once finds the same look-up, or gives this one a slot. Picks rest on where, so they are never the same.
func (c *compiler) once(l *lookup) *lookup {
	same := func(a, b source) bool { return a.text == b.text && a.pick == nil && b.pick == nil }
	for _, o := range c.m.lookups {
		if o.sql == l.sql && o.cache == l.cache && o.missing == l.missing && slices.Equal(o.tables, l.tables) && slices.EqualFunc(o.with, l.with, same) {
			return o
		}
	}
	l.slot = len(c.m.lookups)
	c.m.lookups = append(c.m.lookups, l)
	return l
}

func (c *compiler) with(key string, t *tableMap, written any) (with []source) {
	list, ok := written.([]any)
	if !ok && written != nil {
		list = []any{written}
	}
	for i, w := range list {
		if s, ok := c.source(fmt.Sprintf("%s[%d]", key, i), t, w); ok {
			with = append(with, s)
		}
	}
	return with
}

// caching reads how long an answer holds, and which tables it rests on.
func (c *compiler) caching(key string, l *lookup, block map[string]any) {
	l.cache = c.span(key, "cache", block, maxCache, `24h: write for example "30m"`)
	l.missing = c.span(key, "cache_missing", block, maxMissing, `1m: write for example "5s"`)
	if _, written := block["cache"]; l.missing > 0 && !written {
		c.add(key+".cache", "is required with cache_missing: how long what was found holds")
	}
	list, ok := block["tables"].([]any)
	if v, written := block["tables"]; written && !ok {
		list = []any{v}
	}
	for i, w := range list {
		name, _ := w.(string)
		if !mentions(l.sql, name) {
			c.add(fmt.Sprintf("%s.tables[%d]", key, i), "is not in the lookup")
		}
		l.tables = append(l.tables, name)
	}
	if l.cache > 0 && len(list) == 0 {
		c.add(key+".tables", "is required with cache: the tables that the lookup reads, so that what hostd writes there is seen at once")
	}
}

// span is a time of the block; what is not written is 0.
func (c *compiler) span(key, name string, block map[string]any, most time.Duration, hint string) time.Duration {
	v, written := block[name]
	if !written {
		return 0
	}
	text, _ := v.(string)
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		c.add(key+"."+name, "must be a time with its unit, at most %s", hint)
	}
	return d
}

// mentions says whether the table's name, without its schema, is a word of the SQL.
func mentions(sql, table string) bool {
	name := strings.ToLower(table[strings.LastIndexByte(table, '.')+1:])
	words := strings.FieldsFunc(strings.ToLower(sql), func(r rune) bool { return strings.ContainsRune(" \t\r\n,.()[]\"`;=<>+-*/", r) })
	return slices.Contains(words, name)
}

// placeholders counts the ? of a statement that do not stand in quotes or comments.
func placeholders(sql string) (n int) {
	for i := 0; i < len(sql); i++ {
		end := ""
		switch c := sql[i]; {
		case c == '?':
			n++
			continue
		case c == '\'' || c == '"' || c == '`':
			end = string(c)
		case c == '[':
			end = "]"
		case strings.HasPrefix(sql[i:], "--"):
			end = "\n"
		case strings.HasPrefix(sql[i:], "/*"):
			end = "*/"
		default:
			continue
		}
		at := strings.Index(sql[i+1:], end)
		if at < 0 {
			return n
		}
		i += at + len(end)
	}
	return n
}

// query is the look-up's question for the arguments. Two rows are read, so that a second one is seen.
func (l *lookup) query(args []any) sdk.Query {
	return sdk.Query{SQL: l.sql, Args: args, MaxRows: 2, CacheFor: l.cache, CacheNoneFor: l.missing, Tables: l.tables}
}
