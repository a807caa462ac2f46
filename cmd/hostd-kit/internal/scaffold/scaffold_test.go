package scaffold_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd"
	"github.com/hostd/hostd/cmd/hostd-kit/internal/scaffold"
	"github.com/hostd/hostd/core/sdk"
)

var every = flag.Bool("every", false, "build and examine each kind, instead of one sink; cmd/hostd follows docs/plugins.md with a device")

// plan is a module of its own in a folder of the test's.
func plan(t *testing.T, role sdk.Role, kind string) *scaffold.Plan {
	return &scaffold.Plan{Role: role, Kind: kind, Name: "tono-" + kind, Dir: t.TempDir(), Version: "0.1.0-dev", Source: hostd.Source}
}

func write(t *testing.T, p *scaffold.Plan) string {
	t.Helper()
	dir, err := p.Write()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// eachKind is a subtest for each kind of both roles.
func eachKind(t *testing.T, f func(t *testing.T, role sdk.Role, kind string)) {
	for _, role := range []sdk.Role{sdk.RoleDevice, sdk.RoleSink} {
		for _, kind := range scaffold.Kinds(role) {
			t.Run(string(role)+"/"+kind, func(t *testing.T) { f(t, role, kind) })
		}
	}
}

// goTool runs the go command as one does who has nothing of ours.
func goTool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return goToolFor(t, runtime.GOOS, dir, args...)
}

// goToolFor is goTool for another system.
func goToolFor(t *testing.T, system, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS="+system)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out)
}

// TestModulesKeepTheContract builds what is written outside of the repository, vets it, and runs its tests. With
// -every it is vetted for Windows, and hostd checks its sample of settings, too.
func TestModulesKeepTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it builds modules")
	}
	shared, hostd := filepath.Join(t.TempDir(), "sdk"), filepath.Join(t.TempDir(), "hostd")
	if *every {
		goTool(t, ".", "build", "-buildvcs=false", "-o", hostd, "github.com/hostd/hostd/cmd/hostd")
	}
	eachKind(t, func(t *testing.T, role sdk.Role, kind string) {
		if !*every && kind != "sql" {
			t.Skip("the step kit of .ci/run has it, with -every; one kind is the taste")
		}
		p := plan(t, role, kind)
		if *every {
			p.SDK = shared // is compiled once
		}
		dir := write(t, p)
		if *every {
			t.Parallel()
		}
		goTool(t, dir, "vet", "-mod=readonly", "./...")
		if *every {
			goToolFor(t, "windows", dir, "vet", "-mod=readonly", "./...")
			checkSample(t, hostd, dir, p)
		}
		t.Log(goTool(t, dir, "test", "-mod=readonly", "-count=1", "-timeout", "300s", "./..."))
	})
}

// checkSample builds the plugin into a plugin folder, and lets hostd check its sample of settings there.
func checkSample(t *testing.T, hostd, dir string, p *scaffold.Plan) {
	t.Helper()
	at := t.TempDir()
	bin, block := filepath.Join(at, "bin"), p.Name+".yaml"
	goTool(t, dir, "build", "-mod=readonly", "-o", bin+string(filepath.Separator), ".")
	text, err := os.ReadFile(filepath.Join(dir, block))
	if err != nil {
		t.Fatal(err)
	}
	config := "clinic: test\ndata_dir: data\nplugins: {dir: bin}\n"
	if p.Role == sdk.RoleSink {
		config += string(text)
	} else if err := os.WriteFile(filepath.Join(bin, block), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "hostd.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), hostd, "check")
	cmd.Dir = at
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Errorf("hostd check: %v", err)
	}
}

// TestFiles looks at each file of each kind.
func TestFiles(t *testing.T) {
	eachKind(t, func(t *testing.T, role sdk.Role, kind string) {
		p := plan(t, role, kind)
		dir := write(t, p)
		for _, name := range []string{"main.go", "main_test.go", "README.md", ".gitignore", ".github/workflows/test.yml", p.Name + ".yaml", "go.mod", "go.sum"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			if bytes.Contains(text, []byte("<no value>")) || len(text) == 0 {
				t.Errorf("%s is\n%s", name, text)
			}
			if nice, err := format.Source(text); strings.HasSuffix(name, ".go") && (err != nil || !bytes.Equal(nice, text)) {
				t.Errorf("%s is not formatted: %v", name, err)
			}
		}
		most := map[sdk.Role]int{sdk.RoleDevice: 45, sdk.RoleSink: 55}[role]
		if n := codeLines(t, filepath.Join(dir, "main.go")); n > most {
			t.Errorf("main.go has %d lines of code, want %d at most", n, most)
		}
	})
}

// codeLines counts the lines of a driver that are neither empty nor a comment, behind its imports.
func codeLines(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(text), "\n)\n")
	if !ok {
		t.Fatalf("%s has no imports", file)
	}
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "tono", "tono-lab2", "x1-y2-z3", "files", "com10"} {
		if err := scaffold.CheckName(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"": "lower-case letters", "Tono": "lower-case", "2tono": "a letter first", "-x": "letter", "x-": "single dashes", "x--y": "single dashes",
		"a_b": "dashes", "a/b": "dashes", "..": "letters", "tonö": "letters", strings.Repeat("x", 41): "at most 40", "nul": "Windows", "com1": "Windows",
		"folder": "ships", "hostd-kit": "ships", "sql": "ships",
	} {
		if err := scaffold.CheckName(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q in it", bad, err, says)
		}
	}
	const root = "../../../../"
	for _, pattern := range []string{"plugins/*/*", "cmd/*"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil || len(found) < 2 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		for _, dir := range found {
			if name := filepath.Base(dir); scaffold.CheckName(name) == nil {
				t.Errorf("%s is shipped, and its name is free", name)
			}
		}
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	p := plan(t, sdk.RoleDevice, "file")
	dir := filepath.Join(p.Dir, p.Name)
	mine := filepath.Join(dir, ".mine")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(mine, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("Write = %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the folder has %v, %v", list, err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	write(t, p)
	for _, bad := range []*scaffold.Plan{
		{Role: sdk.RoleSink, Kind: "tcp", Name: "x"},
		{Role: sdk.RoleDevice, Kind: "file", Name: "x", Module: "bad path"},
		{Role: sdk.RoleDevice, Kind: "file", Name: "X"},
	} {
		bad.Dir, bad.Source = t.TempDir(), hostd.Source
		if _, err := bad.Write(); err == nil {
			t.Errorf("%+v was written", bad)
		}
		if list, err := os.ReadDir(bad.Dir); err != nil || len(list) != 0 {
			t.Errorf("%+v left %v, %v", bad, list, err)
		}
	}
}

// TestSharedSDK has two plugins with one SDK; a folder that is something else is refused.
func TestSharedSDK(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"tcp", "file"} {
		p := plan(t, sdk.RoleDevice, kind)
		p.Dir, p.SDK = filepath.Join(dir, "plugins"), filepath.Join(dir, "sdk")
		at := write(t, p)
		mod, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if want := "replace github.com/hostd/hostd => ../../sdk\n"; err != nil || !strings.HasSuffix(string(mod), want) {
			t.Errorf("go.mod is %s, %v", mod, err)
		}
		goTool(t, at, "list", "-mod=readonly", "-deps", "./...")
	}
	p := plan(t, sdk.RoleDevice, "tcp")
	p.SDK = filepath.Join(dir, "plugins", "tono-tcp")
	if _, err := p.Write(); err == nil || !strings.Contains(err.Error(), "another module") {
		t.Errorf("Write = %v", err)
	}
}

// TestSourceIsWhatTheSDKNeeds compares what is embedded with what the go command says, on each system.
func TestSourceIsWhatTheSDKNeeds(t *testing.T) {
	have, want := map[string]bool{}, map[string]bool{}
	err := fs.WalkDir(hostd.Source, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Dir(name) != "." && !strings.HasSuffix(name, "_test.go") {
			have[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	packages, modules := map[string]bool{}, map[string]bool{}
	for _, system := range []string{"linux", "windows", "darwin"} {
		const form = `{{if not .Standard}}{{.Module.Path}} {{.ImportPath}}{{range .GoFiles}} {{.}}{{end}}{{range .IgnoredGoFiles}} {{.}}{{end}}{{range .EmbedFiles}} {{.}}{{end}}{{end}}`
		for line := range strings.Lines(goToolFor(t, system, ".", "list", "-deps", "-f", form, "github.com/hostd/hostd/core/sdk/...")) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			if pkg, ours := strings.CutPrefix(f[1], "github.com/hostd/hostd/"); ours {
				packages[pkg] = true
				for _, name := range f[2:] {
					if !strings.HasSuffix(name, "_test.go") {
						want[pkg+"/"+name] = true
					}
				}
			} else {
				modules[f[0]] = true
			}
		}
	}
	for name := range want {
		if !have[name] {
			t.Errorf("source.go does not embed %s, which the SDK needs", name)
		}
	}
	for name := range have {
		if !want[name] {
			t.Errorf("source.go embeds %s, which the SDK does not need", name)
		}
	}
	if len(packages) < 10 {
		t.Errorf("the SDK has the packages %v", packages)
	}
	checkRequired(t, modules)
}

// checkRequired compares the modules that the SDK's go.mod and a plugin's require with those that the packages are from.
func checkRequired(t *testing.T, modules map[string]bool) {
	dir := write(t, plan(t, sdk.RoleDevice, "tcp"))
	want := slices.Sorted(maps.Keys(modules))
	for _, file := range []string{"hostd-sdk/go.mod", "go.mod"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			if name, version, ok := strings.Cut(strings.TrimSpace(line), " v"); ok && strings.HasPrefix(line, "\t") && version != "" {
				got = append(got, name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s requires\n%s\nand the packages are from\n%s", file, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
}
