package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

func TestTrySettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("port: /dev/ttyS0\nbaud: 9600\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := settingsOf(file, []string{"baud=19200", "name=a=b", "list=[x, y]"})
	want := map[string]any{"port": "/dev/ttyS0", "baud": 19200, "name": "a=b", "list": []any{"x", "y"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("settings %v, %v; want %v", got, err, want)
	}
	if _, err := settingsOf("", []string{"baud"}); err == nil {
		t.Error("a setting without a value is taken")
	}
}

func TestTryRecords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records.ndjson")
	lines := `{"id":"1","kind":"exam","data":{"a":1},"raw":"AAE="}` + "\n" + `{"id":"2","kind":"document","data":"AAI=","encoding":"base64"}` + "\n" +
		`{"id":"3","kind":"document","data":"text"}` + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := recordsOf(file)
	want := []sdk.Record{
		{ID: "1", Kind: "exam", Data: []byte(`{"a":1}`), Raw: []byte{0, 1}},
		{ID: "2", Kind: "document", Data: []byte{0, 2}},
		{ID: "3", Kind: "document", Data: []byte("text")},
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("records %v, %v", got, err)
	}
	for i := range want {
		if got[i].ID != want[i].ID || string(got[i].Data) != string(want[i].Data) || string(got[i].Raw) != string(want[i].Raw) {
			t.Errorf("record %v, want %v", got[i], want[i])
		}
	}
}

func TestTryCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{}, {"x", "--attach", "unix:/y"}, {"x", "--answer", "maybe"}, {"x", "--raw"}, {"x", "--exams", "-1"}, {"x", "--settings", "no-such-file"},
	} {
		root := (&kit{out: io.Discard}).root()
		root.SetArgs(append([]string{"plugins", "try"}, args...))
		if err := root.ExecuteContext(t.Context()); !errors.As(err, &usage{}) {
			t.Errorf("%q: %v, want a usage error", args, err)
		}
	}
}
