// Package core_test holds the architecture: which package may import what, who owns an outside library, and the rules
// of the house style that a parser can see. It is policy: change it together with the design, never to get a build
// through.
package core_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// line is what a package may import. A pattern ends in "/..." for a whole tree; "*" stands for one path element.
type line struct {
	pkg     string   // the package or packages this line is for, relative to the module
	may     []string // packages of ours that it may import
	inTests []string // and its tests besides
	owns    []string // outside libraries; a library covers everything below its path
	command bool     // a program that people run: it may print and exit
	onlyRun bool     // run by tests and benchmarks alone: exempt from all but the import table
}

const (
	goPlugin   = "github.com/hashicorp/go-plugin"
	hclog      = "github.com/hashicorp/go-hclog"
	grpc       = "google.golang.org/grpc"
	protobuf   = "google.golang.org/protobuf"
	xsys       = "golang.org/x/sys"
	prometheus = "github.com/prometheus/client_golang"
	koanf      = "github.com/knadh/koanf"
	netHTTP    = "net/http"
	goSQL      = "database/sql"
)

// everything that a test inside the host may reach for: the whole of core and the config.
var core = []string{"config", "core/..."}

// table has the first line that fits a package. A package without one fails the test.
var table = []line{
	{pkg: "config", may: []string{"core/sdk", "config/dpapi"}, owns: []string{koanf, "github.com/go-viper/mapstructure", "go.yaml.in/yaml", "github.com/hashicorp/cronexpr"}},
	// Secrets that one Windows computer can open: below config, which resolves references and must see nothing of core/internal.
	{pkg: "config/dpapi", owns: []string{xsys}},

	{pkg: "core/sdk", inTests: []string{"core/sdk", "core/sdk/sdktest"}},
	{pkg: "core/sdk/exam", may: []string{"core/sdk"}},
	{pkg: "core/sdk/share"}, // Windows shares: a device logs on to one, and doctor says in the same words why it cannot
	// line: the cable between a driver and its instrument; go.bug.st/serial is pure Go on Windows and Linux, alive, and BSD.
	{pkg: "core/sdk/line", may: []string{"core/sdk"}, inTests: []string{"core/sdk/sim"}, owns: []string{"go.bug.st/serial"}},
	{pkg: "core/sdk/capture", inTests: []string{"core/protocols/examtest"}}, // what passed over a line: serve writes it, sim plays it, the host shows it
	{
		pkg: "core/sdk/serve", may: []string{"core/sdk", "core/sdk/exam", "core/sdk/capture", "core/internal/wire", "core/internal/life"},
		inTests: core, owns: []string{goPlugin, grpc, hclog, xsys},
	},
	// life: the end of a context ends a step that waits; x/sys: a pty stands for a serial line.
	{pkg: "core/sdk/sim", may: []string{"core/sdk", "core/sdk/exam", "core/sdk/capture", "core/internal/life"}, owns: []string{xsys}},
	{ // supervise and hclog: the suite starts plugins as the host does
		pkg: "core/sdk/sdktest", may: []string{"core/sdk", "core/sdk/exam", "core/internal/wire", "core/internal/life", "core/internal/supervise"},
		inTests: core, owns: []string{hclog},
	},

	{pkg: "core/internal/life"},
	{pkg: "core/internal/durable"}, // what several parts of the host write and a power cut must not halve
	{
		pkg: "core/internal/logs", may: []string{"config"}, inTests: core,
		owns: []string{"github.com/sirupsen/logrus", "gopkg.in/natefinch/lumberjack.v2", hclog},
	},
	{
		pkg: "core/internal/wire", may: []string{"core/sdk", "core/internal/life", "core/internal/wire/pb"}, inTests: core,
		owns: []string{goPlugin, grpc, protobuf, hclog},
	},
	{pkg: "core/internal/wire/pb", owns: []string{grpc, protobuf}},
	{pkg: "core/internal/supervise", may: stage("core/internal/wire"), inTests: core, owns: []string{goPlugin, grpc, hclog, xsys}},
	// The binaries that supervise starts: it knows manifests, and starts nothing itself.
	{pkg: "core/internal/pluginstore", may: []string{"core/sdk", "core/internal/durable"}, inTests: core},
	{pkg: "core/internal/schedule", may: stage(), inTests: core},
	{pkg: "core/internal/route", may: []string{"core/sdk", "config"}, inTests: core},
	{pkg: "core/internal/spool", may: stage(), inTests: core},
	{pkg: "core/internal/dispatch", may: stage("core/internal/spool"), inTests: core},
	{
		pkg: "core/internal/dbpool", may: stage(), inTests: core,
		owns: []string{goSQL, "modernc.org/sqlite", "github.com/microsoft/go-mssqldb", "github.com/jackc/pgx"},
	},
	{pkg: "core/internal/dbpool/tdstest", onlyRun: true}, // SQL Server's protocol, for the tests of dbpool
	{pkg: "core/internal/cache", may: stage(), inTests: core, owns: []string{"github.com/jellydator/ttlcache"}},
	{pkg: "core/internal/admin", may: stage("core/internal/durable"), inTests: core, owns: []string{netHTTP, prometheus}},

	// A protocol rests on the dialect below it: joia and nidek on xmlexam, that on textenc.
	// yaml: a profile of a serial instrument is YAML of its own, whose faults name lines; config's loader is the host's.
	{pkg: "core/protocols/lineprofile", may: []string{"core/sdk", "core/sdk/exam", "core/protocols/*"}, owns: []string{"go.yaml.in/yaml"}},
	{pkg: "core/protocols/*", may: []string{"core/sdk", "core/sdk/exam", "core/protocols/*"}, owns: []string{"golang.org/x/text"}},

	{pkg: "core/host", may: []string{"core/sdk", "core/sdk/exam", "core/sdk/capture", "core/sdk/share", "core/sdk/sim", "config", "core/internal/*"}},
	{
		pkg: "cmd/hostd", may: []string{"core/sdk", "core/sdk/capture", "core/sdk/sim", "config", "config/dpapi", "core/host"}, inTests: core, command: true,
		owns: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", xsys},
	},

	// The authors' tools: a program of its own, so that the service carries neither the suite nor the SDK's source.
	{
		pkg: "cmd/hostd-kit", may: []string{".", "cmd/hostd-kit/internal/scaffold", "core/sdk", "core/sdk/sdktest", "core/kit/..."}, inTests: core, command: true,
		owns: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml"}, // yaml: try takes settings as a configuration has them
	},
	{pkg: "cmd/hostd-kit/internal/scaffold", may: []string{"core/sdk"}, inTests: []string{"."}},
	{pkg: "core/kit/*", may: []string{"core/sdk", "core/sdk/capture", "core/sdk/exam", "core/sdk/sdktest", "core/internal/life", "core/internal/wire", "core/internal/supervise"}, inTests: core, owns: []string{hclog}},

	{pkg: "plugins/devices/folder", may: contract, inTests: []string{"core/sdk/sdktest"}, owns: []string{"github.com/fsnotify/fsnotify"}},
	{pkg: "plugins/devices/*", may: contract, inTests: []string{"core/sdk/sdktest"}},
	{pkg: "plugins/sinks/*", may: contract, inTests: []string{"core/sdk/sdktest"}},
	// The clinic's main job asks the page how far it is, and its exit code is its verdict.
	{pkg: "examples/python", inTests: []string{"core/sdk/sdktest"}}, // the suite on a driver in another language
	{pkg: "examples/*", may: contract, owns: []string{netHTTP}, command: true},

	{pkg: "."}, // the SDK's source, embedded for hostd-kit
	{pkg: "core", inTests: core},
	{pkg: "internal/bench", onlyRun: true},
	{pkg: "internal/bench/*", may: contract, onlyRun: true},
	{pkg: "internal/faults", onlyRun: true},
	{pkg: "internal/peers", onlyRun: true}, // other people's programs as clients
	{pkg: "internal/faults/witness", may: contract, onlyRun: true},
	{pkg: "internal/faults/powercut", onlyRun: true}, // a module of its own: its library is none of hostd's
	// The incident replayed: a program that leaks as the origin did has database/sql of its own, the sinks have the contract.
	{pkg: "internal/incident", inTests: []string{"core/sdk", "core/sdk/exam", "internal/incident/load"}, onlyRun: true},
	{pkg: "internal/incident/naive", onlyRun: true},
	{pkg: "internal/incident/load", onlyRun: true},
	{pkg: "internal/incident/*", may: append([]string{"internal/incident/load"}, contract...), onlyRun: true},
	{pkg: ".ci/*", command: true},
}

// contract is what a plugin sees of us.
var contract = []string{"core/sdk", "core/sdk/exam", "core/sdk/serve", "core/sdk/line", "core/sdk/sim", "core/sdk/capture", "core/sdk/share", "core/protocols/..."}

// stage is what every stage may import, and what this one may besides.
func stage(more ...string) []string {
	return append([]string{"core/sdk", "config", "core/internal/life", "core/internal/logs"}, more...)
}

// owned are the packages of the standard library that have owners like outside libraries.
var owned = []string{goSQL, netHTTP}

const module = "github.com/hostd/hostd"

// fits says whether the package is one that the pattern means.
func fits(pattern, pkg string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == tree || strings.HasPrefix(pkg, tree+"/")
	}
	ok, err := path.Match(pattern, pkg)
	return err == nil && ok
}

func anyFits(patterns []string, pkg string) bool {
	for _, p := range patterns {
		if fits(p, pkg) {
			return true
		}
	}
	return false
}

func lineOf(pkg string) (line, bool) {
	for _, l := range table {
		if fits(l.pkg, pkg) {
			return l, true
		}
	}
	return line{}, false
}

// checkImports holds the table over one file.
func checkImports(s *source, report reporter) {
	for _, spec := range s.ast.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		if spec.Name != nil && spec.Name.Name == "." {
			report(ruleDot, spec, "%s is imported with a dot", name)
		}
		if ours, ok := strings.CutPrefix(name+"/", module+"/"); ok {
			checkOurs(s, spec, path.Clean(ours), report)
		} else {
			checkOutside(s, spec, name, report)
		}
	}
}

func checkOurs(s *source, spec *ast.ImportSpec, ours string, report reporter) {
	switch {
	case ours == s.pkg && s.test, anyFits(s.line.may, ours):
	case s.test && anyFits(s.line.inTests, ours):
	default:
		report(ruleImport, spec, "%s may not import %s", s.pkg, ours)
	}
}

func checkOutside(s *source, spec *ast.ImportSpec, name string, report reporter) {
	if s.exempt() {
		return
	}
	first, _, _ := strings.Cut(name, "/")
	library := strings.Contains(first, ".")
	for _, std := range owned {
		library = library || fits(std+"/...", name)
	}
	if !library {
		return
	}
	for _, mine := range s.line.owns {
		if fits(mine+"/...", name) {
			return
		}
	}
	report(ruleOwner, spec, "%s does not own %s", s.pkg, name)
}

// TestArchitecture walks every Go file of the module, whatever its build tags.
func TestArchitecture(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files, err := goFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("found only %d Go files below %s", len(files), root)
	}
	for _, f := range check(files) {
		t.Errorf("%s", f)
	}
}

// TestTableHasNoStaleOwners fails when a line of the table owns a library that go.mod does not have, or that belongs to a later issue's driver.
func TestTableHasNoStaleOwners(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	later := []string{"github.com/jackc/pgx"}
	for _, l := range table {
		for _, lib := range l.owns {
			if !anyFits(append(later, owned...), lib) && !strings.Contains(string(mod), "\t"+lib) {
				t.Errorf("%s owns %s, which go.mod does not require", l.pkg, lib)
			}
		}
	}
}

// goFiles reads every Go file below root by its slash path, without testdata, vendored trees and what git keeps.
func goFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	return files, filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "testdata", "vendor", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		files[filepath.ToSlash(rel)] = string(text)
		return err
	})
}
