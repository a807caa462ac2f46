package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deep blocks may nest.
const maxDepth = 32

// Tags that YAML gives to what is written.
const (
	tagText  = "!!str"
	tagInt   = "!!int"
	tagFloat = "!!float"
	tagBool  = "!!bool"
	tagNull  = "!!null"
	tagTime  = "!!timestamp"
)

// reader turns the nodes of one file into plain values, and notes every fault and every place on the way. A value with
// a fault is left out.
type reader struct {
	file   string
	refs   *resolver
	marks  marks
	bad    map[string]bool // keys that have a fault already
	faults *Faults
}

func (r *reader) fault(line int, key, text, hint string) {
	r.bad[key] = true
	*r.faults = append(*r.faults, Fault{File: r.file, Line: line, Key: key, Text: text, Hint: hint})
}

// place notes where a key is written, over what an earlier file wrote.
func (r *reader) place(key string, line int) {
	r.marks[key] = mark{file: r.file, line: line}
	delete(r.bad, key)
}

// document reads a whole file.
func (r *reader) document(data []byte) map[string]any {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			return r.root(&doc)
		}
		if err == nil {
			r.fault(more.Line, "", "file has a second document", "leave only one, without ---")
			return nil
		}
	}
	line, text, hint := syntax(err)
	r.fault(line, "", "not YAML: "+text, hint)
	return nil
}

func (r *reader) root(doc *yaml.Node) map[string]any {
	n := doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		n = doc.Content[0]
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull {
		return nil // only comments
	}
	v, _ := r.value(n, typeConfig, "", 0)
	m, _ := v.(map[string]any) // nil where the file is not a block, which is a fault already
	return m
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax takes the line out of the parser's error, which is that of the block around the place or one beside it.
func syntax(err error) (line int, text, hint string) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error(), ""
	}
	line, _ = strconv.Atoi(m[1]) // 0 where the parser names none
	hint = "look at the indentation, quotes and brackets of this line and the next ones"
	if strings.Contains(m[2], "cannot start any token") {
		hint = "indent with spaces, not with tabs"
	}
	return line, m[2], hint
}

// value reads a node as the type says. False means that it has a fault.
func (r *reader) value(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	if text := refused(n, depth); text != "" {
		r.fault(n.Line, path, text, "")
		return nil, false
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull {
		r.fault(n.Line, path, "is empty", "write a value, or leave the key out")
		return nil, false
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.block(n, path, func(key string) (reflect.Type, string) {
			if f, ok := field(t, key); ok {
				return f, ""
			}
			meant := join(path, nearest(key, keys(t)))
			if _, written := r.marks[meant]; !written {
				r.bad[meant] = true // it is not missing besides
			}
			return nil, didYouMean(key, keys(t))
		}, depth)
	case reflect.Map:
		return r.block(n, path, func(string) (reflect.Type, string) { return t.Elem(), "" }, depth)
	case reflect.Slice:
		return r.list(n, t.Elem(), path, depth)
	case reflect.Interface:
		return r.free(n, t, path, depth)
	default:
		return r.scalar(n, t, path)
	}
}

// refused says why a node cannot be in a configuration, whatever the key.
func refused(n *yaml.Node, depth int) string {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return "anchors and aliases are not allowed: write the value out"
	case depth > maxDepth:
		return fmt.Sprintf("blocks nest deeper than %d", maxDepth)
	case n.Kind == yaml.ScalarNode:
		switch n.ShortTag() {
		case tagText, tagInt, tagFloat, tagBool, tagNull, tagTime, "!!merge":
			return ""
		}
		return "tags are not allowed: leave " + n.ShortTag() + " out"
	}
	return ""
}

// block reads a map; typeOf gives a key's type, or nil and a hint for an unknown one.
func (r *reader) block(n *yaml.Node, path string, typeOf func(key string) (reflect.Type, string), depth int) (any, bool) {
	if n.Kind != yaml.MappingNode {
		r.fault(n.Line, path, "must be a block of keys", "")
		return nil, false
	}
	out, lines := map[string]any{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() != tagText || k.Anchor != "" {
			r.fault(k.Line, path, "a key must be text", "write it in quotes")
			continue
		}
		key := join(path, k.Value)
		if first := lines[k.Value]; first > 0 {
			r.fault(k.Line, key, "written twice", fmt.Sprintf("the first is on line %d", first))
			continue
		}
		lines[k.Value] = k.Line
		t, hint := typeOf(k.Value)
		if t == nil {
			r.fault(k.Line, key, "unknown key", hint)
			continue
		}
		r.place(key, k.Line)
		if got, ok := r.value(v, t, key, depth+1); ok {
			out[k.Value] = got
		}
	}
	return out, true
}

// list reads a list. An element with a fault stays in its place as an empty one, so that the others keep their numbers.
func (r *reader) list(n *yaml.Node, elem reflect.Type, path string, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		r.fault(n.Line, path, "must be a list", "begin each entry with a dash")
		return nil, false
	}
	r.marks.drop(path)
	for key := range r.bad {
		if strings.HasPrefix(key, path+"[") {
			delete(r.bad, key)
		}
	}
	out := make([]any, 0, len(n.Content))
	for i, c := range n.Content {
		at := element(path, i)
		r.place(at, c.Line)
		v, ok := r.value(c, elem, at, depth+1)
		switch {
		case ok:
			out = append(out, v)
		case elem.Kind() == reflect.Struct:
			out = append(out, map[string]any{})
		case elem.Kind() == reflect.String:
			out = append(out, "")
		}
	}
	return out, true
}

// free reads a plugin's own value, whose type the plugin checks.
func (r *reader) free(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		return r.block(n, path, func(string) (reflect.Type, string) { return t, "" }, depth)
	case yaml.SequenceNode:
		return r.list(n, t, path, depth)
	default:
	}
	switch n.ShortTag() {
	case tagInt:
		return r.number(n, path)
	case tagFloat:
		return r.float(n, path)
	case tagBool:
		return n.Value == "true" || n.Value == "True" || n.Value == "TRUE", true
	default:
		return r.text(n, reflect.TypeFor[string](), path)
	}
}

// scalar reads a single value of ours.
func (r *reader) scalar(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		r.fault(n.Line, path, "must be a single value", "")
		return nil, false
	}
	written := n.ShortTag() == tagText
	if written && (t.Kind() == reflect.String || t == typeDuration || t == typePercent || isReference(n.Value)) {
		return r.text(n, t, path)
	}
	switch {
	case t == typeDuration || t == typePercent: // a bare number
		_, w := fromText(t, n.Value)
		return r.wrong(n, path, w)
	case t.Kind() == reflect.String:
		return r.wrong(n, path, &wrong{"must be text", "write it in quotes"})
	case t.Kind() == reflect.Bool && n.ShortTag() == tagBool:
		return strings.EqualFold(n.Value, "true"), true
	case t.Kind() == reflect.Bool:
		return r.wrong(n, path, &wrong{"must be true or false", "write it without quotes"})
	case n.ShortTag() == tagInt:
		return r.number(n, path)
	default:
		return r.wrong(n, path, &wrong{"must be a whole number", "write plain digits, without quotes"})
	}
}

// wrong reports; a nil w cannot be, but must not pass as a value.
func (r *reader) wrong(n *yaml.Node, path string, w *wrong) (any, bool) {
	if w == nil {
		w = &wrong{"has the wrong type", ""}
	}
	r.fault(n.Line, path, w.text, w.hint)
	return nil, false
}

func (r *reader) number(n *yaml.Node, path string) (any, bool) {
	if v, w := intOf(n.Value); w == nil {
		return v, true
	}
	return r.wrong(n, path, &wrong{"must be a whole number in plain digits", "text of digits stands in quotes"})
}

func (r *reader) float(n *yaml.Node, path string) (any, bool) {
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || strings.ContainsAny(n.Value, "nN_xXpP") { // .nan, .inf
		return r.wrong(n, path, &wrong{"must be a number in plain digits", "text stands in quotes"})
	}
	return v, true
}

// text puts references in and makes the value of them.
func (r *reader) text(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	value, referred, err := r.refs.resolve(n.Value)
	if err != nil {
		return r.wrong(n, path, &wrong{err.Error(), ""})
	}
	if referred {
		at := r.marks[path]
		at.raw = n.Value
		r.marks[path] = at
	}
	v, w := fromText(t, value)
	if w == nil {
		return v, true
	}
	if referred {
		w.hint = "" // it may quote the value
	}
	return r.wrong(n, path, w)
}
