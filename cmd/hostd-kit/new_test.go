package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run is one call of the program.
func run(args ...string) (out string, err error) {
	var b bytes.Buffer
	root := (&kit{out: &b}).root()
	root.SetArgs(args)
	err = root.Execute()
	return b.String(), err
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	out, err := run("new", "device", "tono", "--kind", "tcp", "--dir", dir, "--module", "clinic.example/tono", "--json")
	var said struct{ Dir, Kind, Module string }
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	mod, readErr := os.ReadFile(filepath.Join(said.Dir, "go.mod"))
	if err != nil || readErr != nil || said.Kind != "tcp" || !strings.HasPrefix(string(mod), "module "+said.Module+"\n") || said.Module != "clinic.example/tono" {
		t.Errorf("%+v, %v, %v\n%s", said, err, readErr, mod)
	}
	if !strings.Contains(string(mod), "github.com/hostd/hostd v"+version+"\n") {
		t.Errorf("go.mod does not name hostd's version:\n%s", mod)
	}
	if out, err := run("new", "sink", "chart", "--dir", dir); err != nil || !strings.Contains(out, "go test ./...") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"new"}, exitUsage, "device or sink"},
		{[]string{"new", "devize", "x"}, exitUsage, "device or sink"},
		{[]string{"new", "device"}, exitUsage, "accepts 1 arg"},
		{[]string{"new", "device", "x", "--kinds", "tcp"}, exitUsage, "--kinds"},
		{[]string{"new", "device", "X", "--dir", dir}, exitRun, "lower-case letters"},
		{[]string{"new", "sink", "x", "--kind", "tcp", "--dir", dir}, exitRun, "one of file, sql"},
	} {
		if _, err := run(c.args...); code(err) != c.code || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, code %d; want %q, code %d", c.args, err, code(err), c.says, c.code)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("something was written: %v, %v", list, err)
	}
}
