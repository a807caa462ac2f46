package supervise

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen: far longer than it takes on a busy machine.
const patience = 60 * time.Second

// built is the test plugin: one binary under the names of its behaviours.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	if mode := os.Getenv("HOSTD_TEST_HOST"); mode != "" {
		smallHost(mode)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // the tests wait more than they work
		panic(err)
	}
	os.Exit(tests(m))
}

func tests(m *testing.M) int {
	release, err := HoldPlugins()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	defer func() { os.RemoveAll(built.dir) }()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func build() {
	if built.dir, built.err = os.MkdirTemp("", "hd"); built.err != nil {
		return
	}
	cmd := exec.Command("go", "build", "-o", binary("plugin"), "./testdata/plugin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		built.err = fmt.Errorf("build plugin: %w: %s", err, out)
		return
	}
	for _, name := range []string{
		"prints", "quits", "mute", "window8", "refuser", "polled", "sink", "longline", "frozen", "silent", "huge", "future",
	} {
		built.err = errors.Join(built.err, os.Link(binary("plugin"), binary(name)))
	}
}

func binary(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(built.dir, name)
}

// program is the test plugin under a name that says how it behaves.
func program(t *testing.T, name string) Program {
	t.Helper()
	built.once.Do(build)
	if built.err != nil {
		t.Fatal(built.err)
	}
	sockets, err := os.MkdirTemp("", "hs") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	return Program{Name: name, Path: binary(name), SocketDir: sockets, Log: hclog.NewNullLogger()}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// recv takes from a channel within patience.
func recv[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("%s: not within %s", what, patience)
	}
	return v
}

func mentions(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}
