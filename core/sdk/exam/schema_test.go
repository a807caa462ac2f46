package exam_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk/exam"
)

// rule is the part of JSON Schema that exam.schema.json uses; the test fails where the file uses more.
type rule struct {
	Schema      string           `json:"$schema"`
	ID          string           `json:"$id"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Type        any              `json:"type"`
	Required    []string         `json:"required"`
	Properties  map[string]*rule `json:"properties"`
	Items       *rule            `json:"items"`
	Enum        []string         `json:"enum"`
	Pattern     string           `json:"pattern"`
	MinLength   int              `json:"minLength"`
	Minimum     *float64         `json:"minimum"`
}

func loadSchema(t *testing.T) *rule {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(exam.Schema()))
	dec.DisallowUnknownFields()
	var r rule
	if err := dec.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// check says where v breaks r.
func (r *rule) check(at string, v any) error {
	if r.Type != nil && !r.allows(v) {
		return fmt.Errorf("%s is a %T", at, v)
	}
	switch v := v.(type) {
	case string:
		if r.Enum != nil && !slices.Contains(r.Enum, v) || utf8.RuneCountInString(v) < r.MinLength ||
			r.Pattern != "" && !regexp.MustCompile(r.Pattern).MatchString(v) {
			return fmt.Errorf("%s is %q", at, v)
		}
	case float64:
		if r.Minimum != nil && v < *r.Minimum {
			return fmt.Errorf("%s is %v", at, v)
		}
	case []any:
		for i, x := range v {
			if err := r.Items.check(fmt.Sprintf("%s[%d]", at, i), x); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range r.Required {
			if _, ok := v[key]; !ok {
				return fmt.Errorf("%s has no %s", at, key)
			}
		}
		for key, p := range r.Properties {
			if x, ok := v[key]; ok {
				if err := p.check(at+"."+key, x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *rule) allows(v any) bool {
	types, many := r.Type.([]any)
	if !many {
		types = []any{r.Type}
	}
	for _, name := range types {
		f, isNumber := v.(float64)
		_, isString := v.(string)
		_, isList := v.([]any)
		_, isObject := v.(map[string]any)
		if name == "number" && isNumber || name == "integer" && isNumber && f == float64(int64(f)) ||
			name == "string" && isString || name == "array" && isList || name == "object" && isObject {
			return true
		}
	}
	return false
}

func (r *rule) checkJSON(t *testing.T, data []byte) error {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return r.check("exam", v)
}

func TestSchemaHoldsForExams(t *testing.T) {
	r := loadSchema(t)
	for _, name := range wantFiles(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.checkJSON(t, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for seed := range uint64(100) {
		if err := r.checkJSON(t, mustEncode(t, generate(rand.New(rand.NewPCG(seed, 2))))); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if err := r.checkJSON(t, mustEncode(t, full())); err != nil {
		t.Error(err)
	}
}

// TestSchemaAndDecodeRefuseTheSame holds the schema and Validate together.
func TestSchemaAndDecodeRefuseTheSame(t *testing.T) {
	r := loadSchema(t)
	good := string(mustEncode(t, full()))
	for _, change := range [][2]string{
		{`"eye":"R"`, `"eye":"OD"`},
		{`"code":"sphere"`, `"code":""`},
		{`"seq":1`, `"seq":-1`},
		{`"seq":1`, `"seq":1.5`},
		{`"value":-0.75`, `"value":""`},
		{`"value":-0.75`, `"value":null`},
		{`"value":-0.75,`, ``},
		{`"sex":"F"`, `"sex":"W"`},
		{`"1970-03-15"`, `"1970-3-15"`},
		{"2025-03-24T10", "2025-03-24 10"},
		{"+09:00", "+09"},
		{"40.317", "40."},
		{`["duplicate"]`, `["Dup"]`},
		{`["duplicate"]`, `"duplicate"`},
		{`"observations":[`, `"observation":[`},
		{`"device":{`, `"devices":{`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s is not in the exam", change[0])
		}
		if _, err := exam.Decode([]byte(bad)); err == nil {
			t.Errorf("decode takes %s", change[1])
		}
		if err := r.checkJSON(t, []byte(bad)); err == nil {
			t.Errorf("schema takes %s", change[1])
		}
	}
}

// TestSchemaNamesEveryField holds the schema and the structs together.
func TestSchemaNamesEveryField(t *testing.T) {
	same(t, loadSchema(t), reflect.TypeFor[exam.Exam]())
}

func same(t *testing.T, r *rule, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Slice {
		r, typ = r.Items, typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[exam.Value]() {
		return
	}
	if len(r.Properties) != typ.NumField() {
		t.Errorf("%s has %d fields, the schema %d", typ, typ.NumField(), len(r.Properties))
	}
	for i := range typ.NumField() {
		name, option, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		p := r.Properties[name]
		if p == nil {
			t.Errorf("the schema has no %s of %s", name, typ)
			continue
		}
		if slices.Contains(r.Required, name) == (option == "omitempty") {
			t.Errorf("%s: required in the schema and omitempty in %s do not fit", name, typ)
		}
		same(t, p, typ.Field(i).Type)
	}
}
