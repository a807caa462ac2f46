package scaffold

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sdkModule is the module of the SDK.
const sdkModule = "github.com/hostd/hostd"

// direct are the modules that the SDK's packages import, indirect those behind them, and tested those that only their
// tests need: `go mod tidy` wants the sums of these, too. The versions are hostd's.
var (
	direct = []string{
		"github.com/go-viper/mapstructure/v2", "github.com/hashicorp/cronexpr", "github.com/hashicorp/go-hclog",
		"github.com/hashicorp/go-plugin", "github.com/knadh/koanf/providers/confmap", "github.com/knadh/koanf/providers/env/v2",
		"github.com/knadh/koanf/v2", "github.com/sirupsen/logrus", "go.bug.st/serial", "go.yaml.in/yaml/v3", "golang.org/x/sys",
		"google.golang.org/grpc", "google.golang.org/protobuf", "gopkg.in/natefinch/lumberjack.v2",
	}
	indirect = []string{
		"github.com/fatih/color", "github.com/golang/protobuf", "github.com/hashicorp/yamux", "github.com/knadh/koanf/maps",
		"github.com/mattn/go-colorable", "github.com/mattn/go-isatty", "github.com/mitchellh/copystructure",
		"github.com/mitchellh/reflectwalk", "github.com/oklog/run", "golang.org/x/net", "golang.org/x/text",
		"google.golang.org/genproto/googleapis/rpc",
	}
	tested = []string{
		"github.com/bufbuild/protocompile", "github.com/davecgh/go-spew", "github.com/google/go-cmp", "github.com/jhump/protoreflect",
		"github.com/pmezard/go-difflib", "github.com/stretchr/objx", "github.com/stretchr/testify", "gonum.org/v1/gonum",
		"gopkg.in/check.v1", "gopkg.in/yaml.v3",
	}
)

// writeSDK writes the SDK's source where it is not, and gives its path as seen from the module in dir.
func (p *Plan) writeSDK(dir string) (string, error) {
	if p.SDK == "" {
		return "./" + ownSDK, p.writeSource(filepath.Join(dir, ownSDK))
	}
	mod, err := os.ReadFile(filepath.Join(p.SDK, "go.mod"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := emptyFolder(p.SDK); err != nil {
			return "", err
		}
		err = p.writeSource(p.SDK)
	case err == nil && !bytes.HasPrefix(mod, []byte("module "+sdkModule+"\n")):
		err = fmt.Errorf("%s is another module than %s", p.SDK, sdkModule)
	}
	if err != nil {
		return "", err
	}
	return between(dir, p.SDK)
}

// between is the way from one folder to another, as a replace of go.mod has it: relative, unless they are on two drives.
func between(from, to string) (string, error) {
	from, err1 := filepath.Abs(from)
	to, err2 := filepath.Abs(to)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return filepath.ToSlash(to), nil //nolint:nilerr // there is no relative way
	}
	return filepath.ToSlash(rel), nil
}

// writeSource writes the SDK as a module: its packages without tests, and go.mod and go.sum of what they need.
func (p *Plan) writeSource(dir string) error {
	mod, sum, err := p.requirements()
	if err != nil {
		return err
	}
	head := "module " + sdkModule + "\n\n" + goLine(mod)
	err = errors.Join(create(filepath.Join(dir, "go.mod"), []byte(head+requireText(mod, direct, "")+requireText(mod, indirect, " // indirect"))),
		create(filepath.Join(dir, "go.sum"), sum))
	if err != nil {
		return err
	}
	return fs.WalkDir(p.Source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") || name == "go.mod" || name == "go.sum" {
			return err
		}
		text, err := fs.ReadFile(p.Source, name)
		if err != nil {
			return err
		}
		return create(filepath.Join(dir, filepath.FromSlash(name)), text)
	})
}

// requirements are hostd's go.mod, and the lines of its go.sum that are about the SDK's modules.
func (p *Plan) requirements() (mod string, sum []byte, err error) {
	text, err := fs.ReadFile(p.Source, "go.mod")
	if err != nil {
		return "", nil, err
	}
	sums, err := fs.ReadFile(p.Source, "go.sum")
	if err != nil {
		return "", nil, err
	}
	for line := range strings.Lines(string(sums)) {
		name, _, _ := strings.Cut(line, " ")
		if slices.Contains(slices.Concat(direct, indirect, tested), name) {
			sum = append(sum, line...)
		}
	}
	return string(text), sum, nil
}

// moduleFiles are go.mod and go.sum of the plugin.
func (p *Plan) moduleFiles(sdkAt string) (mod, sum []byte, err error) {
	hostd, sum, err := p.requirements()
	if err != nil {
		return nil, nil, err
	}
	needs := "require " + sdkModule + " v" + p.Version + "\n"
	text := "module " + p.Module + "\n\n" + goLine(hostd) + needs + "\n" + requireText(hostd, slices.Sorted(slices.Values(slices.Concat(direct, indirect))), " // indirect")
	return []byte(text + "\nreplace " + sdkModule + " => " + sdkAt + "\n"), sum, nil
}

// goLine is the line of the Go version, and an empty one.
func goLine(mod string) string {
	for line := range strings.Lines(mod) {
		if strings.HasPrefix(line, "go ") {
			return line + "\n"
		}
	}
	return ""
}

// requireText is a block that requires the modules in hostd's versions, each line with the mark at its end.
func requireText(mod string, modules []string, mark string) string {
	var b strings.Builder
	b.WriteString("require (\n")
	for _, m := range modules {
		for line := range strings.Lines(mod) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == m {
				b.WriteString("\t" + m + " " + f[1] + mark + "\n")
			}
		}
	}
	return b.String() + ")\n"
}
