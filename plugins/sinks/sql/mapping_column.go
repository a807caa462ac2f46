package main

import (
	"fmt"
	"slices"
)

// columnKeys are those of a column that is written as a block.
var columnKeys = []string{"from", "value", "lookup", "with", "cache", "cache_missing", "tables", "as", "map", "default", "required", "unfit"}

// column reads one column: a source, a list of which the first that is there counts, or a block. What it returns after a
// fault is only good for finding more of them.
func (c *compiler) column(key string, t *tableMap, name string, written any) *column {
	col := &column{name: name, title: t.name + "." + name, decimals: -1}
	block, isBlock := written.(map[string]any)
	if !isBlock {
		c.from(key, t, col, written)
		c.become(key, col, nil)
		return col
	}
	for k := range block {
		if !slices.Contains(columnKeys, k) {
			c.add(key+"."+k, "unknown key%s", meant(k, columnKeys))
		}
	}
	forms := 0
	for _, k := range []string{"from", "value", "lookup"} {
		if _, ok := block[k]; ok {
			forms++
		}
	}
	if forms != 1 {
		c.add(key, "must have one of from, value and lookup")
		col.kind = kindAny
		return col
	}
	if v, ok := block["value"]; ok {
		col.constant, col.kind, _ = c.constant(key+".value", v) // a fault is noted
		c.alone(key, block, "value")
		return col
	}
	if v, ok := block["from"]; ok {
		c.from(key+".from", t, col, v)
		c.not(key, block, "belongs to lookup", "with", "cache", "cache_missing", "tables")
	} else {
		c.lookup(key, t, col, block)
	}
	c.become(key, col, block)
	return col
}

// alone holds that a constant has nothing beside it.
func (c *compiler) alone(key string, block map[string]any, form string) {
	others := slices.DeleteFunc(slices.Clone(columnKeys), func(k string) bool { return k == form })
	c.not(key, block, "has no meaning beside "+form, others...)
}

func (c *compiler) not(key string, block map[string]any, why string, keys ...string) {
	for _, k := range keys {
		if _, ok := block[k]; ok {
			c.add(key+"."+k, "%s", why)
		}
	}
}

// from reads one source or several, and gives the column their kind.
func (c *compiler) from(key string, t *tableMap, col *column, written any) {
	list, many := written.([]any)
	if !many {
		list = []any{written}
	}
	if len(list) == 0 || len(list) > maxFrom {
		c.add(key, "must have 1 to %d sources", maxFrom)
	}
	for i, w := range list {
		at := key
		if many {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		s, ok := c.source(at, t, w)
		if !ok {
			col.kind = kindAny
			continue
		}
		col.from = append(col.from, s)
		col.patient = col.patient || s.patient
	}
	if col.kind == kindAny || len(col.from) == 0 {
		col.kind = kindAny // a fault is noted
		return
	}
	col.kind = col.from[0].kind
	for _, s := range col.from[1:] {
		if s.kind != col.kind {
			col.kind = kindEither
		}
	}
}

// become reads what is to be made of the value.
func (c *compiler) become(key string, col *column, block map[string]any) {
	before := len(c.list)
	to := conversion{col.kind, -1}
	as, hasAs := block["as"]
	table, hasMap := block["map"]
	switch {
	case hasAs && hasMap:
		c.add(key+".as", "has no meaning beside map, which says what comes out")
	case hasAs:
		to, _ = c.asOf(key+".as", as) // a fault is noted
		if slices.ContainsFunc(col.from, func(s source) bool { return s.kind == kindBytes }) {
			c.add(key+".as", "has no meaning for bytes")
		}
	case hasMap:
		to.kind = c.words(key+".map", col, table)
	case col.kind == kindEither:
		c.add(key, "may be a number or a text, or is of different kinds: say which, as in {from: %s, as: number}", example(col))
	}
	col.kind, col.decimals = to.kind, to.decimals
	if col.convert == nil {
		col.convert = c.converter(to)
	}
	c.missing(key, col, block)
	if len(c.list) > before {
		col.kind = kindAny
	}
}

func example(col *column) string {
	if len(col.from) == 1 {
		return col.from[0].text
	}
	return "[...]"
}

// words reads map, and says what kind comes out of it.
func (c *compiler) words(key string, col *column, written any) kind {
	m, ok := written.(map[string]any)
	if !ok || len(m) == 0 {
		c.add(key, "must name what stands for each text: {R: OD, L: OS}")
		return kindAny
	}
	out := make(map[string]any, len(m))
	texts, numbers := 0, 0
	to := kindInteger
	for word, w := range m {
		v, k, ok := c.constant(key+"."+word, w)
		if !ok {
			return kindAny
		}
		out[word] = v
		switch k {
		case kindText:
			texts++
		case kindNumber:
			to = kindNumber
			numbers++
		default:
			numbers++
		}
	}
	switch {
	case texts > 0 && numbers > 0:
		c.add(key, "must give either texts or numbers, not both")
		return kindAny
	case texts > 0:
		to = kindText
	case to == kindNumber:
		for word, v := range out {
			out[word], _ = toNumber(v) // it is a number
		}
	}
	col.convert = words(out)
	return to
}

// missing reads what is done where there is no value, or one that does not fit.
func (c *compiler) missing(key string, col *column, block map[string]any) {
	var ok bool
	if v, written := block["required"]; written {
		if col.required, ok = v.(bool); !ok {
			c.add(key+".required", "must be true or false")
		}
	}
	switch v, written := block["unfit"]; {
	case !written || v == "dead":
	case v == "missing":
		col.lenient = true
	default:
		c.add(key+".unfit", "must be dead (the record becomes a dead letter) or missing (as if there were no value)")
	}
	v, written := block["default"]
	if !written {
		return
	}
	if col.required {
		c.add(key+".default", "has no meaning beside required: true")
	}
	d, k, ok := c.constant(key+".default", v)
	if !ok {
		return
	}
	if col.fallback = d; col.kind == kindAny {
		return
	}
	var err error
	switch _, mapped := block["map"]; {
	case mapped && k != col.kind && !(k == kindInteger && col.kind == kindNumber):
		c.add(key+".default", "must be of the kind that map gives: %s", col.kind)
	case mapped && col.kind == kindNumber:
		col.fallback, err = toNumber(d)
	case !mapped && k != kindText && col.kind == kindText:
		err = errNoText
	case !mapped && col.convert != nil:
		col.fallback, err = col.convert(d)
	}
	if err != nil {
		c.add(key+".default", "%v, and the column is %s", err, col.kind)
	}
}
