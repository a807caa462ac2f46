package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hostd/hostd/config/dpapi"
)

// maxSecretFile is the size of a file that a reference may name, in bytes.
const maxSecretFile = 64 << 10

// resolver puts the values of references in: ${env:NAME}, ${file:path} and ${dpapi:path}; $${ is a plain ${.
type resolver struct {
	env  map[string]string
	used map[string]bool // names of variables that a reference named
}

func newResolver(environ []string) *resolver {
	r := &resolver{env: map[string]string{}, used: map[string]bool{}}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			r.env[name] = value
		}
	}
	return r
}

// resolve gives the text with its values, and whether it had a reference. The error never holds a value.
func (r *resolver) resolve(text string) (value string, referred bool, err error) {
	var out strings.Builder
	for {
		at := strings.Index(text, "${")
		if at < 0 {
			out.WriteString(text)
			return out.String(), referred, nil
		}
		if at > 0 && text[at-1] == '$' {
			out.WriteString(text[:at-1] + "${")
			text = text[at+2:]
			continue
		}
		out.WriteString(text[:at])
		inner, rest, ok := strings.Cut(text[at+2:], "}")
		if !ok {
			return "", true, errors.New("reference is not closed: } is missing")
		}
		v, err := r.lookUp(inner)
		if err != nil {
			return "", true, err
		}
		out.WriteString(v)
		text, referred = rest, true
	}
}

func (r *resolver) lookUp(reference string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch {
	case kind != "env" && kind != "file" && kind != "dpapi" || name == "":
		return "", errors.New("reference is unknown: write ${env:NAME}, ${file:path} or, on Windows, ${dpapi:path}, or $${ for a plain ${")
	case kind == "file":
		return readSecret(name)
	case kind == "dpapi":
		return openSecret(name)
	}
	r.used[name] = true
	v, ok := r.env[name]
	if !ok {
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	return v, nil
}

// readSecret gives the file's text without the line end that editors add.
func readSecret(path string) (string, error) {
	b, err := readFile(path, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", path, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// openSecret gives the secret of a file that hostd spool key --dpapi has made.
func openSecret(path string) (string, error) {
	if err := dpapi.Supported(); err != nil {
		return "", fmt.Errorf("${dpapi:...} %w: write ${file:path} or ${env:NAME} in its place", err)
	}
	b, err := readFile(path, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", path, err)
	}
	secret, err := dpapi.Open(b)
	if err != nil {
		return "", fmt.Errorf("cannot use %s: %w", path, err)
	}
	return string(secret), nil
}

// readFile reads a regular file of at most limit bytes. The error is the cause alone.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, cause(err)
	case !info.Mode().IsRegular(): // a pipe or a terminal would be waited for
		return nil, errors.New("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, cause(err)
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("it is larger than %d KiB", limit>>10)
	}
	return b, nil
}

// cause is what the system says, in the same words on every system where that is possible.
func cause(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("no such file")
	case errors.Is(err, os.ErrPermission):
		return errors.New("no permission")
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
