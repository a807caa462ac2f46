package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Types that are written in their own way.
var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typePercent  = reflect.TypeFor[Percent]()
	typeSecret   = reflect.TypeFor[Secret]()
	typeConfig   = reflect.TypeFor[Config]()
	typeDevice   = reflect.TypeFor[Device]()
)

// field gives the field of a block that a key means.
func field(block reflect.Type, key string) (reflect.Type, bool) {
	for f := range fields(block) {
		if f.Tag.Get("yaml") == key {
			return f.Type, true
		}
	}
	return nil, false
}

// fields are those of a block that have keys, in their order.
func fields(block reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range block.NumField() {
			if f := block.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// keys of a block.
func keys(block reflect.Type) []string {
	var list []string
	for f := range fields(block) {
		list = append(list, f.Tag.Get("yaml"))
	}
	return list
}

// leafKeys are the dotted keys of all single values, as environment and flags can name them.
func leafKeys(block reflect.Type, path string) []string {
	var list []string
	for f := range fields(block) {
		key := join(path, f.Tag.Get("yaml"))
		switch f.Type.Kind() {
		case reflect.Struct:
			list = append(list, leafKeys(f.Type, key)...)
		case reflect.Slice, reflect.Map:
		default:
			list = append(list, key)
		}
	}
	return list
}

// leaf finds the type of a dotted key. A map of texts takes any last part.
func leaf(parts []string) (reflect.Type, bool) {
	t := typeConfig
	for i, p := range parts {
		switch t.Kind() {
		case reflect.Struct:
			next, ok := field(t, p)
			if !ok {
				return nil, false
			}
			t = next
		case reflect.Map:
			return t.Elem(), i == len(parts)-1 && t.Elem().Kind() == reflect.String
		default:
			return nil, false
		}
	}
	return t, true
}

// nested makes the map of maps that a dotted key means.
func nested(parts []string, v any) map[string]any {
	for _, p := range slices.Backward(parts) {
		v = map[string]any{p: v}
	}
	m, _ := v.(map[string]any) // parts are never empty
	return m
}

func isReference(text string) bool { return strings.Contains(text, "${") }
