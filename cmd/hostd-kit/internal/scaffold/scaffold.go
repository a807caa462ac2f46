package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/hostd/hostd/core/sdk"
)

//go:embed templates
var templates embed.FS

// Plan says what is written.
type Plan struct {
	Role    sdk.Role
	Kind    string // one of Kinds
	Name    string // of the plugin, see CheckName
	Module  string // path of the Go module; empty is example.org/NAME
	Dir     string // folder in which the folder NAME is made
	SDK     string // folder of an SDK that several plugins share, made where it is not there; empty: each has its own
	Version string // of hostd, as a semantic version
	Source  fs.FS  // of the SDK, as the root package has it
}

// Kinds are the kinds of plugins that there are templates for; the first one is the default.
func Kinds(role sdk.Role) []string {
	if role == sdk.RoleSink {
		return []string{"file", "sql"}
	}
	return []string{"polled", "listening", "serial", "tcp", "file"}
}

// ownSDK is the folder of the SDK in a module that has its own.
const ownSDK = "hostd-sdk"

// Write makes the folder NAME with all files of the module, and returns its path. A folder that has something in it is
// refused.
func (p *Plan) Write() (string, error) {
	if err := p.check(); err != nil {
		return "", err
	}
	dir := filepath.Join(p.Dir, p.Name)
	if err := emptyFolder(dir); err != nil {
		return "", err
	}
	at, err := p.writeSDK(dir)
	if err != nil {
		return "", fmt.Errorf("write sdk: %w", err)
	}
	if err := p.writeFiles(dir, at); err != nil {
		return "", fmt.Errorf("write module: %w", err)
	}
	return dir, nil
}

func (p *Plan) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if kinds := Kinds(p.Role); !slices.Contains(kinds, p.Kind) {
		return fmt.Errorf("there is no %s of kind %q: one of %s", p.Role, p.Kind, strings.Join(kinds, ", "))
	}
	if p.Module == "" {
		p.Module = "example.org/" + p.Name
	}
	if !modulePath.MatchString(p.Module) {
		return fmt.Errorf("module %q is no path of a Go module, such as example.org/%s", p.Module, p.Name)
	}
	return nil
}

// emptyFolder makes the folder, or finds it empty.
func emptyFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into folder: %w", err)
	}
	if len(list) > 0 {
		return fmt.Errorf("the folder %s is not empty, and nothing is overwritten: take another name or --dir", dir)
	}
	return nil
}

var (
	plainName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	modulePath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*$`)
	// windowsName is what no file may be called on Windows, with any ending.
	windowsName = regexp.MustCompile(`^(con|prn|aux|nul|com\d|lpt\d)$`)
)

// maxName keeps the paths of a plugin's sockets short.
const maxName = 40

// shipped are the names of hostd's own programs and plugins.
var shipped = []string{"hostd", "hostd-kit", "astm", "folder", "generator", "hl7-mllp", "line-serial", "nidek-serial", "file", "sql"}

// CheckName says what is wrong with a plugin's name.
func CheckName(name string) error {
	switch {
	case !plainName.MatchString(name) || len(name) > maxName:
		return fmt.Errorf("the name %q will not do: lower-case letters, digits and single dashes, a letter first, at most %d, such as tono-lab2", name, maxName)
	case windowsName.MatchString(name):
		return fmt.Errorf("the name %q will not do: Windows keeps it for itself", name)
	case slices.Contains(shipped, name):
		return fmt.Errorf("the name %q will not do: hostd ships a program of that name", name)
	}
	return nil
}

// files are the files of a module and their templates; PREFIX is empty for a device and sink- for a sink.
var files = map[string]string{
	"main.go":                    "PREFIXKIND.go",
	"main_test.go":               "PREFIXKIND_test.go",
	"NAME.yaml":                  "settings.yaml",
	"README.md":                  "README.md",
	".gitignore":                 "gitignore",
	".github/workflows/test.yml": "ci.yml",
}

// writeFiles writes everything but the SDK, which lies at the slash path sdkAt, seen from the module.
func (p *Plan) writeFiles(dir, sdkAt string) error {
	title := strings.ToUpper(p.Name[:1]) + p.Name[1:]
	data := map[string]any{
		"Name": p.Name, "Title": title, "Kind": p.Kind, "Role": string(p.Role), "Device": p.Role == sdk.RoleDevice, "SDK": sdkAt,
	}
	prefix := ""
	if p.Role == sdk.RoleSink {
		prefix = "sink-"
	}
	for file, from := range files {
		from = strings.NewReplacer("PREFIX", prefix, "KIND", p.Kind).Replace(from)
		t, err := template.ParseFS(templates, "templates/"+from+".tmpl")
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, data); err != nil {
			return err
		}
		if err := create(filepath.Join(dir, strings.ReplaceAll(file, "NAME", p.Name)), text.Bytes()); err != nil {
			return err
		}
	}
	mod, sum, err := p.moduleFiles(sdkAt)
	if err != nil {
		return err
	}
	return errors.Join(create(filepath.Join(dir, "go.mod"), mod), create(filepath.Join(dir, "go.sum"), sum))
}

// create writes a file that is not there yet, and the folders above it.
func create(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
