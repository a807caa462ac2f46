package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	usualAddr    = "127.0.0.1:8480" // as hostd.yaml has it
	usualPlugins = "../../bin"
)

func exe() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// prepare writes the clinic's configuration into its folder, with the plugins where they were built and, where the page's
// usual port is taken, with another one. It gives the page's address.
func (j *job) prepare(ctx context.Context) (addr string, err error) {
	conf, err := os.ReadFile(filepath.Join(j.root, "examples", "clinic", "hostd.yaml"))
	if err != nil {
		return "", err
	}
	if addr, err = free(ctx, usualAddr); err != nil {
		return "", err
	}
	text := strings.Replace(string(conf), usualAddr, addr, 1)
	text = strings.Replace(text, usualPlugins, "'"+filepath.ToSlash(j.bin)+"'", 1)
	for _, dir := range []string{"in/topcon", "in/nidek/TXT", "in/nidek/JPG", "in/tomey", "log"} {
		if err := os.MkdirAll(filepath.Join(j.work, filepath.FromSlash(dir)), 0o755); err != nil {
			return "", err
		}
	}
	return addr, os.WriteFile(filepath.Join(j.work, "hostd.yaml"), []byte(text), 0o600)
}

// free is the wished address, or one with a free port where something listens there already.
func free(ctx context.Context, wish string) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", wish)
	if err != nil {
		ln, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// export plays the instruments: it copies the makers' exports into the folders that hostd watches, and says how many
// exams' files there are.
func (j *job) export() (exams int, err error) {
	from := filepath.Join(j.root, "examples", "clinic", "exports")
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil || d.IsDir() || !strings.ContainsRune(rel, filepath.Separator) {
			return err
		}
		body, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if isExam(p) {
			exams++
		}
		return os.WriteFile(filepath.Join(j.work, "in", rel), body, 0o600)
	})
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	return exams, nil
}

func isExam(p string) bool { return strings.EqualFold(filepath.Ext(p), ".xml") }

// waiting counts the exams' files in the watched folders that hostd has not put away, and those it could not read.
func waiting(in string) (left, failed int, err error) {
	err = filepath.WalkDir(in, func(p string, d fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil // it was moved while we looked
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "done":
			return filepath.SkipDir
		case !d.IsDir() && isExam(p) && filepath.Base(filepath.Dir(p)) == "failed":
			failed++
		case !d.IsDir() && isExam(p):
			left++
		}
		return nil
	})
	return left, failed, err
}
