package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Setting describes one field of a plugin's settings: what the configuration may say, and what it means.
type Setting struct {
	Name     string      `json:"name"`               // key in YAML, snake_case
	Type     SettingType `json:"type"`               // what the value must be
	Default  string      `json:"default,omitempty"`  // as it would be written in YAML; empty is none
	Unit     string      `json:"unit,omitempty"`     // of a bare number
	Min      *float64    `json:"min,omitempty"`      // smallest number, or shortest duration in seconds
	Max      *float64    `json:"max,omitempty"`      // largest number, or longest duration in seconds
	Enum     []string    `json:"enum,omitempty"`     // the only strings allowed
	Required bool        `json:"required,omitempty"` // must be written
	Secret   bool        `json:"secret,omitempty"`   // must be given by reference and is never shown
	Help     string      `json:"help,omitempty"`     // one sentence
	Fields   []Setting   `json:"fields,omitempty"`   // of a block, or of each block of a list
}

// SettingType is the type of a setting's value.
type SettingType string

// Types of settings. A duration is a string with a unit ("5s"); a list is of strings, a map of strings by string. A block
// has the settings of Fields, blocks is a list of such, and a tree is a map of anything, which the plugin checks itself.
const (
	TypeString   SettingType = "string"
	TypeInt      SettingType = "int"
	TypeFloat    SettingType = "float"
	TypeBool     SettingType = "bool"
	TypeDuration SettingType = "duration"
	TypeList     SettingType = "list"
	TypeMap      SettingType = "map"
	TypeBlock    SettingType = "block"
	TypeBlocks   SettingType = "blocks"
	TypeTree     SettingType = "tree"
)

// SettingFault is one thing that is wrong with a plugin's settings. The text never quotes a value.
type SettingFault struct {
	Key  string // name of the setting, as it was written; inside blocks its path: tables[1].key
	Text string // what is wrong, and what to write
}

// Error is the key and the text.
func (f SettingFault) Error() string { return f.Key + ": " + f.Text }

// ErrSettings is in the chain of every error of Settings.Decode: the settings are wrong, and trying again is of no use.
var ErrSettings = errors.New("settings are wrong")

// CheckSettings compares settings, as a decoder of JSON or YAML gives them, with their description. It returns every
// fault, sorted by key; none means that Decode will take them.
func CheckSettings(list []Setting, values map[string]any) []SettingFault {
	faults := checkBlock("", list, values)
	slices.SortFunc(faults, func(a, b SettingFault) int { return strings.Compare(a.Key, b.Key) })
	return faults
}

// checkBlock is CheckSettings of the block whose keys begin with path; that is empty, or ends with a dot.
func checkBlock(path string, list []Setting, values map[string]any) (faults []SettingFault) {
	names := make([]string, len(list))
	for i := range list {
		s := &list[i]
		names[i] = s.Name
		v, written := values[s.Name]
		switch {
		case !written && s.Required:
			faults = append(faults, SettingFault{path + s.Name, "is required: " + s.Help})
		case written:
			faults = append(faults, s.check(path+s.Name, v)...)
		}
	}
	unknown := "unknown setting"
	if path != "" {
		unknown += "; known: " + strings.Join(names, ", ")
	}
	for key := range values {
		if !slices.Contains(names, key) {
			faults = append(faults, SettingFault{path + key, unknown})
		}
	}
	return faults
}

// check is every fault of a value that was written at the key.
func (s *Setting) check(key string, v any) (faults []SettingFault) {
	parsed, text := s.parse(v, fromDecoder)
	if text != "" {
		return []SettingFault{{key, text}}
	}
	if s.Type == TypeBlock {
		return checkBlock(key+".", s.Fields, asBlock(parsed))
	}
	if s.Type != TypeBlocks {
		return nil
	}
	for i, block := range asList(parsed) {
		at := fmt.Sprintf("%s[%d]", key, i)
		if m := asBlock(block); m != nil {
			faults = append(faults, checkBlock(at+".", s.Fields, m)...)
		} else {
			faults = append(faults, SettingFault{at, mustBeBlock})
		}
	}
	return faults
}

// Settings are a plugin's own settings, one JSON object.
type Settings struct{ json []byte }

// NewSettings takes one JSON object; nil is the empty object.
func NewSettings(json []byte) Settings { return Settings{json: json} }

// JSON gives the object back.
func (s Settings) JSON() []byte { return s.json }

// Decode fills the tagged fields (see Describe) of the struct that into points to: with the value that was written, else
// with the default, else with the zero value, so that a plugin that is opened again keeps nothing of before. An error
// wraps ErrSettings, names every fault, and leaves the struct as it was.
func (s Settings) Decode(into any) error {
	list, err := Describe(into)
	if err != nil {
		return err
	}
	values, err := s.values()
	if err != nil {
		return fmt.Errorf("read settings: %w: %w", ErrSettings, err)
	}
	if faults := CheckSettings(list, values); len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return fmt.Errorf("read settings: %w: %w", ErrSettings, errors.Join(errs...))
	}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("read settings into a %T: it must point to a struct", into)
	}
	fill(target.Elem(), list, values)
	return nil
}

// values is the object, with its numbers as they were written.
func (s Settings) values() (map[string]any, error) {
	if len(bytes.TrimSpace(s.json)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(s.json))
	d.UseNumber()
	var values map[string]any
	if err := d.Decode(&values); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON object")
	}
	return values, nil
}

// fill sets the tagged fields, which stand in the order of list, and returns what of list is left. The values were checked.
func fill(target reflect.Value, list []Setting, values map[string]any) (rest []Setting) {
	for i := range target.NumField() {
		f := target.Type().Field(i)
		if embeds(f) {
			list = fill(target.Field(i), list, values)
		}
		if _, tagged := f.Tag.Lookup("setting"); !tagged {
			continue
		}
		target.Field(i).SetZero()
		list[0].fill(target.Field(i), values)
		list = list[1:]
	}
	return list
}

// fill sets the field, which is zero, to what was written or to the default.
func (s *Setting) fill(field reflect.Value, values map[string]any) {
	written, ok := values[s.Name]
	var v any
	switch {
	case s.Type == TypeBlock: // one that was not written has its defaults
		fill(field, s.Fields, asBlock(written))
	case s.Type == TypeBlocks && ok:
		blocks := asList(written)
		field.Set(reflect.MakeSlice(field.Type(), len(blocks), len(blocks)))
		for i, block := range blocks {
			fill(field.Index(i), s.Fields, asBlock(block))
		}
	case ok:
		v, _ = s.parse(written, fromDecoder) // it was checked
	case s.Default != "":
		v, _ = s.parse(s.Default, fromText) // Describe has checked it
	}
	if v != nil {
		field.Set(reflect.ValueOf(clone(v)).Convert(field.Type()))
	}
}

func clone(v any) any {
	switch v := v.(type) {
	case []string:
		return slices.Clone(v)
	case map[string]string:
		return maps.Clone(v)
	}
	return v
}
