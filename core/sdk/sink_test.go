package sdk_test

import (
	"reflect"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

func TestAllRows(t *testing.T) {
	want := []sdk.Row{{"a": 1, "b": "x"}, {"a": nil, "b": "y"}}
	for name, got := range map[string][]sdk.Row{
		"insert of rows":   sdk.Insert{Rows: want}.All(),
		"insert of values": sdk.Insert{Columns: []string{"b", "a"}, Values: []any{"x", 1, "y", nil}}.All(),
		"upsert of rows":   sdk.Upsert{Rows: want}.All(),
		"upsert of values": sdk.Upsert{Columns: []string{"b", "a"}, Values: []any{"x", 1, "y", nil}}.All(),
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s are %v, want %v", name, got, want)
		}
	}
	if got := (sdk.Insert{Columns: []string{"a"}}).All(); len(got) != 0 {
		t.Errorf("no values are the rows %v", got)
	}
}
