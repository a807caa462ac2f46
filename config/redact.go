package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// secretKey is how a setting's name gives a secret away, where no manifest was asked.
var secretKey = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|dsn|private|api_?key`)

// Redacted is the effective configuration as YAML: defaults filled in, references as they were written, secrets
// masked.
func (c *Config) Redacted() string {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c.node(reflect.ValueOf(*c), "", false)); err != nil {
		return "# cannot be shown: " + err.Error() + "\n"
	}
	return out.String()
}

// node makes the YAML of a value; everything inside a secret is one.
func (c *Config) node(v reflect.Value, path string, secret bool) *yaml.Node {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	secret = secret || c.marks[path].secret
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for f := range fields(v.Type()) {
			key, value := f.Tag.Get("yaml"), v.FieldByIndex(f.Index)
			if shown(value) {
				n.Content = append(n.Content, textNode(key), c.node(value, join(path, key), secret))
			}
		}
		return n
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			hide := secret || strings.Contains(path, ".settings") && secretKey.MatchString(k.String())
			n.Content = append(n.Content, textNode(k.String()), c.node(v.MapIndex(k), join(path, k.String()), hide))
		}
		return n
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, c.node(v.Index(i), element(path, i), secret))
		}
		return n
	default:
		return c.leafNode(v, path, secret || v.IsValid() && v.Type() == typeSecret)
	}
}

// shown leaves out lists and maps that are empty.
func shown(v reflect.Value) bool {
	return v.Kind() != reflect.Map && v.Kind() != reflect.Slice || v.Len() > 0
}

// leafNode shows a single value: a reference as it was written, a secret masked unless it is nothing but a reference.
func (c *Config) leafNode(v reflect.Value, path string, secret bool) *yaml.Node {
	raw := c.marks[path].raw
	switch {
	case !v.IsValid():
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagNull, Value: "null"}
	case raw != "" && (!secret || reference.MatchString(raw)):
		return textNode(raw)
	case secret && !v.IsZero():
		return textNode(masked)
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return textNode(Short(x))
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagInt, Value: strconv.Itoa(x)}
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagFloat, Value: strconv.FormatFloat(x, 'g', -1, 64)}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagBool, Value: strconv.FormatBool(x)}
	default:
		return textNode(strings.ReplaceAll(fmt.Sprint(x), "${", "$${"))
	}
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagText, Value: s}
}
