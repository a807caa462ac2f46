package faults

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// goProgram is the command go for tests under wine, which build their plugins: it has the machine's own build them. Wine gives
// no handle of such a process and no pipe to it, so a file says that it has ended.
const goProgram = `package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func unix(arg string) string {
	for drive, dir := range map[string]string{"Z:": "", "C:": os.Getenv("WINEPREFIX") + "/drive_c"} {
		if rest, ok := strings.CutPrefix(arg, drive); ok {
			return dir + strings.ReplaceAll(rest, "\\", "/")
		}
	}
	return arg
}

func main() {
	dir, err := os.MkdirTemp("", "go")
	if err != nil {
		panic(err)
	}
	const script = "d=$1; shift; go \"$@\" >$d/out 2>&1; echo $? >$d/part; mv $d/part $d/code"
	args := []string{"sh", "-c", script, "go", unix(dir)}
	for _, a := range os.Args[1:] {
		args = append(args, unix(a))
	}
	if _, err := os.StartProcess("Z:\\bin\\sh", args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}); err != nil {
		panic(err)
	}
	for {
		time.Sleep(20 * time.Millisecond)
		text, err := os.ReadFile(dir + "\\code")
		if err != nil {
			continue
		}
		out, err := os.ReadFile(dir + "\\out")
		code, nerr := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || nerr != nil {
			panic(fmt.Sprint(err, nerr))
		}
		fmt.Print(string(out))
		os.RemoveAll(dir)
		os.Exit(code)
	}
}
`

// suite is a package whose tests run as a Windows program.
type suite struct {
	dir  string
	run  string // the tests; empty is all
	skip string // and those that wine does not carry
	why  string // it does not
}

// onWindows are the packages that have something of Windows, or lean on it.
var onWindows = []suite{
	{dir: "cmd/hostd", run: "^(TestDroppedInPluginIsADevice|TestHalfCopiedPluginIsWaitedFor|TestNewerPluginTakesOver|TestVanishedAndRemovedPlugin|TestPinnedPlugins)$"},
	{dir: "core/internal/pluginstore"},
	{dir: "core/internal/supervise", skip: "^TestEnvironment$", why: "wine gives each process variables of its own"},
	{
		dir: "core/internal/spool", skip: "^(TestSweepBesideIntakeLosesNoAttachment|TestVerifyBesideHeavyAppending)$",
		why: "the first wants more sweeps beside deletions than wine is fast enough for; the second looks at files while they are deleted, which nobody can open on Windows at that instant",
	},
	{dir: "core/internal/durable"},
	{dir: "core/host", skip: "^TestSuspend$", why: "it came to no end within three minutes there; it is of virtual time, and nothing in it is of Windows"},
	{dir: "core/sdk/share"},
	{dir: "core/sdk/line"},
	{dir: "config/dpapi"},
	{dir: "plugins/devices/folder"},
}

const longestSuite = 10 * time.Minute

// result is a line of go test about one test.
var result = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): .*$`)

// tests builds the tests of a package and runs them under wine.
func (w *windows) tests(t *testing.T, s suite) {
	program := filepath.Join(t.TempDir(), "tests.exe")
	if err := goBuild([]string{"test", "-c", "-o", program, "./" + s.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), "wineserver", "-k").Run() }) // it may have ended
	args := []string{program, "-test.v", "-test.timeout", longestSuite.String(), "-test.run", s.run}
	if s.skip != "" {
		args = append(args, "-test.skip", s.skip)
		t.Logf("not run: %s: %s", s.skip, s.why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longestSuite+*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "wine", args...)
	cmd.Dir = filepath.Join(root, s.dir)
	out, err := cmd.CombinedOutput()
	passed := 0
	for _, line := range result.FindAllString(string(out), -1) {
		if strings.Contains(line, "--- PASS") {
			passed++
			continue
		}
		t.Log(strings.TrimSpace(line))
	}
	t.Logf("%d passed", passed)
	if err != nil || passed == 0 {
		t.Fatalf("%v\n%s", err, out[max(0, len(out)-8000):])
	}
}

// mend has Go delete folders under wine: of what is not there, wine 8 says another thing than Windows, which Go does not take for
// an answer. It gives the text that is changed, with which everything is built.
func (w *windows) mend(t *testing.T, dir string) map[string]string {
	t.Helper()
	const asked = "case STATUS_INVALID_INFO_CLASS, //"
	path, text := changed(t, filepath.Join(strings.TrimSpace(run(t, "go", "env", "GOROOT")), "src/internal/syscall/windows/at_windows.go"), asked, "case NTStatus(0xC0000002), // STATUS_NOT_IMPLEMENTED\n\t\tSTATUS_INVALID_INFO_CLASS, //")
	texts := map[string]string{path: text}
	scratch := filepath.Join(dir, "mend")
	err := os.MkdirAll(scratch, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	args, err := overlay(scratch, texts)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" "+strings.Join(args, "="))
	return texts
}

// changed is the text of a file with another line in the place of one, and the file's full path.
func changed(t *testing.T, file, old, fresh string) (path, text string) {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%s: its line is not there (%v)", file, err)
	}
	return path, strings.ReplaceAll(string(b), old, fresh)
}
