package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

// writeKeyed writes a configuration whose spool key is a reference.
func writeKeyed(t *testing.T, reference string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hostd.yaml")
	if err := os.WriteFile(file, []byte("spool:\n  seal: true\n  key: '"+reference+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A protected file is for Windows alone; elsewhere that is a fault like any other, with its place.
func TestProtectedFileOnOtherSystems(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this is Windows")
	}
	file := writeKeyed(t, "${dpapi:"+filepath.Join(t.TempDir(), "no such file")+"}")
	_, err := config.Load(config.Options{Files: []string{file}})
	var faults config.Faults
	if !errors.As(err, &faults) || len(faults) != 1 {
		t.Fatalf("Load = %v, want one fault", err)
	}
	if f := faults[0]; f.File != file || f.Line != 3 || f.Key != "spool.key" || !strings.Contains(f.Text, "works only on Windows") {
		t.Errorf("%+v", f)
	}
}
