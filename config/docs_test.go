package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

// TestEveryKeyIsDocumented walks the configuration and wants a row of docs/configuration.md for each key.
func TestEveryKeyIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	keys := 0
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, ok := f.Tag.Lookup("yaml")
			if !ok {
				continue
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, path+name+".")
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				walk(f.Type.Elem(), "")
			default:
				keys++
				if !strings.Contains(page, "| `"+path+name+"` |") {
					t.Errorf("docs/configuration.md has no row for %s%s", path, name)
				}
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
	if keys < 40 {
		t.Fatalf("found %d keys", keys)
	}
}
