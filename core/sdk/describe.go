package sdk

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Describe reads the settings of a plugin out of the tags of a struct, or a pointer to one: each field with a tag
// `setting:"name[,required][,secret]"` is a setting; `default`, `unit`, `min`, `max`, `enum` (separated by commas) and
// `help` say the rest. A field is a string, bool, int, int64, float64, time.Duration, []string or map[string]string; a
// struct with such fields is a block, a list of these is blocks, and a map[string]any is a tree. An embedded struct without a
// tag gives its settings as if they stood there (line.Settings). An error is a mistake of the plugin's author. Something that is not a struct has no settings.
func Describe(settings any) ([]Setting, error) {
	t := structType(settings)
	if t == nil {
		return nil, nil
	}
	return describeStruct(t, 0)
}

// describeStruct describes the fields of a struct that stands depth blocks deep.
func describeStruct(t reflect.Type, depth int) ([]Setting, error) {
	var list []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("setting")
		if embeds(f) {
			inner, err := describeStruct(f.Type, depth)
			if err != nil {
				return nil, err
			}
			list = append(list, inner...)
		}
		if !ok {
			continue
		}
		s, err := describeField(f, tag, depth)
		if err != nil {
			return nil, fmt.Errorf("describe settings: field %s: %w", f.Name, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// embeds says that the settings of the field's struct stand among those of the struct that has the field.
func embeds(f reflect.StructField) bool {
	_, tagged := f.Tag.Lookup("setting")
	return f.Anonymous && !tagged && f.IsExported() && f.Type.Kind() == reflect.Struct
}

func structType(settings any) reflect.Type {
	t := reflect.TypeOf(settings)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// maxDepth is how deep a block may stand in blocks.
const maxDepth = 4

func describeField(f reflect.StructField, tag string, depth int) (Setting, error) {
	parts := strings.Split(tag, ",")
	s := Setting{Name: parts[0], Default: f.Tag.Get("default"), Unit: f.Tag.Get("unit"), Help: f.Tag.Get("help")}
	for _, p := range parts[1:] {
		switch p {
		case "required":
			s.Required = true
		case "secret":
			s.Secret = true
		default:
			return s, fmt.Errorf("setting has the word %q; required and secret are known", p)
		}
	}
	if s.Name == "" || !f.IsExported() {
		return s, fmt.Errorf("a setting needs a name, and its field must be exported")
	}
	var ok bool
	if s.Type, ok = settingType(f.Type); !ok {
		return s, fmt.Errorf("a setting cannot be a %s", f.Type)
	}
	if s.Secret && depth > 0 {
		return s, fmt.Errorf("a secret must stand outside of blocks")
	}
	if e := f.Tag.Get("enum"); e != "" {
		s.Enum = strings.Split(e, ",")
	}
	var err error
	if block := blockType(f.Type); block != nil {
		if s.Default != "" || s.Secret {
			return s, fmt.Errorf("a block has no default of its own, and is no secret")
		}
		if depth == maxDepth {
			return s, fmt.Errorf("blocks stand more than %d deep", maxDepth)
		}
		if s.Fields, err = describeStruct(block, depth+1); err == nil && len(s.Fields) == 0 {
			err = fmt.Errorf("a setting cannot be a %s, which has no settings", f.Type)
		}
		return s, err
	}
	if s.Min, err = bound(f.Tag, "min"); err != nil {
		return s, err
	}
	if s.Max, err = bound(f.Tag, "max"); err != nil {
		return s, err
	}
	if s.Default != "" {
		if _, text := s.parse(s.Default, fromText); text != "" {
			return s, fmt.Errorf("default: %s", text)
		}
	}
	return s, nil
}

func bound(tag reflect.StructTag, name string) (*float64, error) {
	text, ok := tag.Lookup(name)
	if !ok {
		return nil, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &v, nil
}

// fieldTypes has the one Go type for each SettingType; an int setting may also be an int64.
var fieldTypes = map[reflect.Type]SettingType{
	reflect.TypeFor[string]():            TypeString,
	reflect.TypeFor[bool]():              TypeBool,
	reflect.TypeFor[int]():               TypeInt,
	reflect.TypeFor[int64]():             TypeInt,
	reflect.TypeFor[float64]():           TypeFloat,
	reflect.TypeFor[time.Duration]():     TypeDuration,
	reflect.TypeFor[[]string]():          TypeList,
	reflect.TypeFor[map[string]string](): TypeMap,
	reflect.TypeFor[map[string]any]():    TypeTree,
}

func settingType(t reflect.Type) (SettingType, bool) {
	st, ok := fieldTypes[t]
	switch {
	case ok:
		return st, true
	case blockType(t) == nil:
		return "", false
	case t.Kind() == reflect.Slice:
		return TypeBlocks, true
	}
	return TypeBlock, true
}

// blockType is the struct of a block or of a list of blocks, or nil.
func blockType(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}
