package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commands are the lines of a page's blocks of shell, in their order.
func commands(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		switch fence := strings.TrimSpace(line); {
		case fence == "```sh":
			inside = true
		case fence == "```":
			inside = false
		case inside:
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestTutorial runs docs/plugins.md word by word in an empty folder, with nothing but Go and hostd's programs.
func TestTutorial(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it builds a module")
	}
	shell, err := exec.LookPath("bash")
	if runtime.GOOS == "windows" || err != nil {
		t.Skip("the page is written for a Unix shell, and there is none")
	}
	t.Parallel()
	bin, dir := t.TempDir(), t.TempDir()
	builtInto(t, bin, ".", "../hostd-kit", "../../plugins/sinks/file")
	script := commands(t, "../../docs/plugins.md")
	if n := strings.Count(script, "hostd "); n < 6 {
		t.Fatalf("the page has only these commands:\n%s", script)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-euxc", "trap 'jobs -p | xargs -r kill' EXIT\n"+script+"trap - EXIT\n")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // the shell ends what runs beside it
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "GOFLAGS=", "CGO_ENABLED=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = patience
	err = cmd.Run()
	log, readErr := os.ReadFile(filepath.Join(dir, "clinic", "hostd.txt"))
	if err != nil || readErr != nil {
		t.Fatalf("%v, %v\n%s\nhostd said:\n%s", err, readErr, out.Bytes(), log)
	}
	t.Logf("took %s", time.Since(began).Round(time.Second))
	for _, want := range []string{"ok  \texample.org/tono", `"sphere"`, "tono-1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in what was shown:\n%s", want, out.Bytes())
		}
	}
}
