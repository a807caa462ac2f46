package faults

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var wine = flag.Bool("wine", false, "of TestWine: run the Windows build under wine; else it is skipped")

// prng is a library of Windows that wine 8 lacks and that Go needs.
const prng = `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID p, ULONG n);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) {
	for (SIZE_T k; n > 0; p += k, n -= k) {
		k = n < 32768 ? n : 32768;
		if (!SystemFunction036(p, (ULONG)k)) return FALSE;
	}
	return TRUE;
}
`

// replacer says what Windows lets it do with a file in whose place it puts another: write to it, delete it, rename the other one over it.
const replacer = `package main

import (
	"fmt"
	"os"
)

func main() {
	path := os.Args[1]
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		err = f.Close()
	}
	fmt.Println("write", err == nil)
	fmt.Println("delete", os.Remove(path) == nil)
	fmt.Println("rename over", os.Rename(os.Args[2], path) == nil)
}
`

// windows are folders of programs for Windows.
type windows struct {
	bin     string // as they are
	jobless string // hostd without the job: only the end of the standard input ends plugins
	deaf    string // plugins that do not hear the end of their standard input: only the job ends them
	tool    string // replacer
}

// TestWine runs the Windows build of the host and of plugins under wine: it starts and says so, delivers, stops; a killed host
// takes its plugins along, by either of two belts alone; a plugin's file is replaced and taken away while it runs; and the
// tests of packages run there as a Windows program, those that drop plugins into the folder of a running host among them. It
// says nothing about NTFS, services, or a virus scanner.
func TestWine(t *testing.T) {
	if !*wine {
		t.Skip("only with -wine")
	}
	for _, program := range []string{"wine", "x86_64-w64-mingw32-gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s: apt-get install wine64 wine gcc-mingw-w64-x86-64-win32", program)
		}
	}
	w := buildWindows(t)
	t.Run("flow", func(t *testing.T) { w.flow(t) })
	t.Run("orphans", func(t *testing.T) {
		w.orphans(t, "both", w.bin, w.bin)
		w.orphans(t, "input", w.jobless, w.bin)
		w.orphans(t, "job", w.bin, w.deaf)
		t.Run("neither", func(t *testing.T) { w.survivors(t) })
	})
	t.Run("replace", func(t *testing.T) { w.replace(t) })
	for _, p := range onWindows {
		t.Run(p.dir, func(t *testing.T) { w.tests(t, p) })
	}
}

// buildWindows makes wine's folder ready, and builds.
func buildWindows(t *testing.T) (w windows) {
	t.Helper()
	programs(t) // has the folder
	dir := filepath.Join(binaries.temp, "wine")
	w = windows{bin: filepath.Join(dir, "bin"), jobless: filepath.Join(dir, "jobless"), deaf: filepath.Join(dir, "deaf"), tool: filepath.Join(dir, "tool")}
	for name, value := range map[string]string{
		"GOOS": "windows", "GOARCH": "amd64", "WINEPREFIX": filepath.Join(dir, "prefix"), "WINEARCH": "win64", "WINEDEBUG": "-all",
		"WINEDLLOVERRIDES": "mscoree,mshtml=", // it asks for nothing
		"WINEPATH":         "Z:" + strings.ReplaceAll(filepath.Join(dir, "tool"), "/", `\`),
	} {
		t.Setenv(name, value)
	}
	mended := w.mend(t, dir)
	broken := func(file, old, fresh string) map[string]string {
		path, text := changed(t, filepath.Join(root, file), old, fresh)
		texts := maps.Clone(mended)
		texts[path] = text
		return texts
	}
	noJob := broken("core/internal/supervise/process_windows.go", "windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE", "0")
	noInput := broken("core/sdk/serve/serve.go", "		cancel()\n		return err\n", "		return err\n")
	tool, goTool := filepath.Join(dir, "replacer.go"), filepath.Join(dir, "gotool.go")
	for _, err := range []error{
		buildWith(w.bin, "", nil, everything...),
		buildWith(w.jobless, dir, noJob, "./cmd/hostd"),
		buildWith(w.deaf, dir, noInput, everything[1:]...),
		os.WriteFile(tool, []byte(replacer), 0o600),
		os.WriteFile(goTool, []byte(goProgram), 0o600),
		goBuild([]string{"build", "-o", w.tool + "/", tool}),
		goBuild([]string{"build", "-o", w.tool + "/go.exe", goTool}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := filepath.Join(dir, "prng.c")
	if err := os.WriteFile(c, []byte(prng), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "wine", "wineboot", "-i")
	run(t, "x86_64-w64-mingw32-gcc", "-shared", "-O2", "-s", "-o", filepath.Join(dir, "prefix/drive_c/windows/system32/bcryptprimitives.dll"), c, "-ladvapi32")
	return w
}

// run runs a command to its end and gives what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), *patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// clinic is one whose host runs under wine.
func (w *windows) clinic(t *testing.T, host, plugins string) *clinic {
	t.Helper()
	c := newClinic(t)
	c.wrap, c.host, c.bin = []string{"wine"}, filepath.Join(host, "hostd.exe"), plugins
	c.flow = c.crowded
	c.configure(c.flow())
	t.Setenv("TMPDIR", c.temp)                                                                                  // where wine meets its own server
	t.Cleanup(func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), "wineserver", "-k").Run() }) // it may have ended
	return c
}

// flow starts a host, wants records through all its plugins, and stops it.
func (w *windows) flow(t *testing.T) {
	c, o := w.clinic(t, w.bin, w.bin), newOracle()
	c.busy(o)
	c.drop(o, 5)
	c.until("the files are delivered", func(s *status) bool { return len(c.names("in")) == 0 })
	c.configure(c.quiet())
	c.stopByAPI()
	c.start()
	c.until("everything is delivered", c.settled)
	c.stopByAPI()
	c.eventually("the end of the last plugin", orphanGoal, func() bool { return len(c.exes("")) == 0 })
	told := o.verdict(c)
	t.Logf("%d records of the witness, %d of the generator, %d files, none lost", told, o.row["gen"].last, len(o.share))
}

// stopByAPI asks the host to end as the operator does on Windows, and wants exit code 0.
func (c *clinic) stopByAPI() {
	c.t.Helper()
	token, err := os.ReadFile(filepath.Join(c.data, "admin.token"))
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://"+c.addr+"/api/v1/stop", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		c.t.Fatalf("stop: %s", resp.Status)
	}
	select {
	case <-c.ended:
		if c.err != nil {
			c.t.Fatalf("host ended badly: %v", c.err)
		}
	case <-time.After(*patience):
		c.t.Fatal("host did not end")
	}
}

// orphans kills a host, whose plugins must be gone soon.
func (w *windows) orphans(t *testing.T, belt, host, plugins string) {
	t.Run(belt, func(t *testing.T) {
		c := w.clinic(t, host, plugins)
		c.busy(newOracle())
		c.complete()
		killed := time.Now()
		c.kill()
		c.eventually("the end of the last plugin", orphanSlow, func() bool { return len(c.exes("")) == 0 })
		took := time.Since(killed)
		t.Logf("gone after %s", took)
		if took > orphanGoal {
			t.Errorf("plugins outlive their host by %s", took)
		}
	})
}

// complete waits until the processes that asked the plugins which nobody uses what they are have ended.
func (c *clinic) complete() {
	c.t.Helper()
	c.eventually("the host with a process of each plugin", *patience, func() bool { return len(c.exes("")) == 1+len(units)+1 })
}

// survivors shows that nothing but the two belts ends a plugin.
func (w *windows) survivors(t *testing.T) {
	c := w.clinic(t, w.jobless, w.deaf)
	c.busy(newOracle())
	c.complete()
	c.kill()
	for end := time.Now().Add(orphanGoal); time.Now().Before(end); time.Sleep(look) {
		if list := c.exes(""); len(list) != len(units)+1 {
			t.Fatalf("of the plugins %d are left: %v", len(list), list)
		}
	}
}

// replace puts another file in the place of a plugin's while it runs, which the host takes, and then takes it away. What runs
// is a copy, of which Windows lets nobody have its way.
func (w *windows) replace(t *testing.T) {
	plugins, other := filepath.Join(t.TempDir(), "bin"), filepath.Join(t.TempDir(), "generator.exe")
	if err := errors.Join(os.CopyFS(plugins, os.DirFS(w.bin)), os.Chmod(plugins, 0o700)); err != nil {
		t.Fatal(err)
	}
	c, o := w.clinic(t, w.bin, plugins), newOracle()
	c.busy(o)
	file := filepath.Join(plugins, "generator.exe")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "another one"...) // behind what a program's head names, which is no part of it
	tryOn := func(path string) string {
		if err := os.WriteFile(other, text, 0o700); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(run(t, "wine", filepath.Join(w.tool, "replacer.exe"), path, other), "\r", "")
	}
	const free, held = "write true\ndelete true\nrename over true\n", "write false\ndelete false\nrename over false\n"
	if got := tryOn(c.copyOf("generator.exe")[0]); got != held {
		t.Errorf("the copy that runs: %q, want %q", got, held)
	}
	if got := tryOn(file); got != free {
		t.Errorf("the file of the plugin folder: %q, want %q", got, free)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	runs := func() bool {
		list := c.exes(sum + `\generator`)
		return len(list) == 1 && len(c.exes("generator")) == 1
	}
	c.eventually("the new one runs, and the old one no more", *patience, runs)
	c.until("the new one works", c.worksOn(units[1]))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.until("it works without its file", c.worksOn(units[1]))
	if c.mended(o, []*blow{c.strike(units[1], c.exes("generator")[0], syscall.SIGKILL)}); !runs() {
		t.Error("another one runs after a crash")
	}
	c.configure(c.quiet())
	c.stopByAPI()
	c.start()
	c.until("everything is delivered", c.settled)
	c.stopByAPI()
	o.verdict(c)
}

// copyOf are the copies of a plugin's file that the host has made.
func (c *clinic) copyOf(name string) []string {
	c.t.Helper()
	list, err := filepath.Glob(filepath.Join(c.data, "plugins", "*", name))
	if err != nil || len(list) == 0 {
		c.t.Fatalf("copies of %s: %v, %v", name, list, err)
	}
	return list
}

// worksOn is a condition: the unit has done more than now.
func (c *clinic) worksOn(u unit) func(*status) bool {
	c.t.Helper()
	before, err := c.status()
	if err != nil {
		c.t.Fatal(err)
	}
	_, _, was := u.state(&before)
	return func(s *status) bool {
		_, _, is := u.state(s)
		return is > was
	}
}

// exes are the processes of the host and its plugins under wine, or of one of them. Wine has others of its own.
func (c *clinic) exes(program string) (pids []int) {
	c.t.Helper()
	for _, pid := range c.family() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if path, _, _ := strings.Cut(string(line), "\x00"); err == nil && strings.HasSuffix(path, program+".exe") && !strings.HasPrefix(path, `C:\windows`) {
			pids = append(pids, pid)
		}
	}
	return pids
}
