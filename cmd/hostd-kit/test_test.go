package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

// buildAll builds packages into one folder.
func buildAll(t *testing.T, packages ...string) (binary func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return func(name string) string {
		if runtime.GOOS == "windows" {
			name += ".exe"
		}
		return filepath.Join(dir, name)
	}
}

// call runs a command line and gives what it prints and its exit code.
func call(t *testing.T, args ...string) (out string, exit int) {
	t.Helper()
	var b bytes.Buffer
	k := &kit{out: &b}
	root := k.root()
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		t.Logf("%v: %v", args, err)
		fmt.Fprintln(&b, err)
	}
	return b.String(), code(err)
}

var every = flag.Bool("every", false, "examine each shipped plugin, instead of one device and one sink; the others have a test of their own, too")

// TestShippedPlugins holds that each shipped plugin keeps the contract, as `hostd plugins test` says.
func TestShippedPlugins(t *testing.T) {
	plugins, sources := []string{"folder", "file"}, []string{"../../plugins/devices/folder", "../../plugins/sinks/file"}
	if *every {
		plugins, sources = append(plugins, "generator", "nidek-serial", "line-serial", "hl7-mllp", "astm", "sql"), []string{"../../plugins/..."}
	}
	binary := buildAll(t, append(sources, "../hostd/testdata/plugins/recorder")...)
	for _, plugin := range plugins {
		t.Run(plugin, func(t *testing.T) {
			out, exit := call(t, "plugins", "test", "--json", binary(plugin))
			var r sdktest.Report
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if exit != 0 || r.Plugin != plugin || r.Count(sdktest.Kept) < 15 || r.Count(sdktest.Broken)+r.Count(sdktest.NotExamined) > 0 {
				t.Errorf("exit %d: %s", exit, out)
			}
			t.Logf("%d rules in %.1f s", len(r.Rules), r.Seconds)
		})
	}
	t.Run("without an instrument", func(t *testing.T) {
		out, exit := call(t, "plugins", "test", binary("recorder"))
		if exit != exitRun || !strings.Contains(out, "kept          manifest is complete") || !strings.Contains(out, "not examined  keeps to its window") ||
			!strings.Contains(out, "name a program with --instrument") {
			t.Errorf("exit %d: %s", exit, out)
		}
		if out, exit := call(t, "plugins", "test", "--without-instrument", binary("recorder")); exit != 0 {
			t.Errorf("exit %d: %s", exit, out)
		}
	})
	t.Run("of the wrong kind", func(t *testing.T) {
		out, exit := call(t, "plugins", "test", binary("file"), "--instrument", binary("folder"))
		if exit != exitRun || !strings.Contains(out, "file is a sink: it has a destination") {
			t.Errorf("exit %d: %s", exit, out)
		}
	})
}

// TestTestIsToldWhatIsWrong holds what a wrong command line gets.
func TestTestIsToldWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{nil, exitUsage, "name the plugin's binary"},
		{[]string{filepath.Join(dir, "absent")}, exitUsage, "is no file"},
		{[]string{text, "--settings", text}, exitUsage, "--settings"},
		{[]string{text, "--instrument", "no-such-program x"}, exitUsage, "--instrument"},
		{[]string{text, "--what"}, exitUsage, "--help"},
		{[]string{text}, exitRun, "its file is no program"},
	} {
		out, exit := call(t, append([]string{"plugins", "test"}, c.args...)...)
		if exit != c.exit || !strings.Contains(out, c.says) {
			t.Errorf("%v: exit %d, want %d: %s", c.args, exit, c.exit, out)
		}
	}
}
