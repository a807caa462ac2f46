package bench

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Flags of the benchmarks. They stand behind the package: go test -run '^$' -bench Flow ./internal/bench -records 50000.
var (
	records = flag.Int("records", 1_000_000, "records of 1 KiB in BenchmarkFlow")
	pings   = flag.Int("pings", 500, "single records in BenchmarkAckLatency, and syncs before and after them")
	rest    = flag.Duration("rest", 20*time.Second, "how long BenchmarkAtRest lets the host rest before it looks")
	onDisk  = flag.String("dir", "", "folder on the disk that is measured; empty is the test's own, or bin/ of the module where that is in memory")
	built   = flag.String("bin", "", "folder of built binaries, for comparing builds; empty builds them")
)

const (
	readyWait = 30 * time.Second
	stopWait  = 30 * time.Second
	look      = 20 * time.Millisecond // between looks at files and processes
	root      = "../.."               // the module, seen from this package
)

// binaries are built once in a run.
var binaries struct {
	once sync.Once
	dir  string
	err  error
}

// TestMain removes what was built.
func TestMain(m *testing.M) {
	code := m.Run()
	if *built == "" && binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// program is the folder with hostd and the plugins.
func program(b *testing.B) string {
	b.Helper()
	binaries.once.Do(func() { binaries.dir, binaries.err = build() })
	if binaries.err != nil {
		b.Fatal(binaries.err)
	}
	return binaries.dir
}

func build() (string, error) {
	if *built != "" {
		return filepath.Abs(*built)
	}
	dir, err := os.MkdirTemp("", "hostd-bench-bin-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/",
		"./cmd/hostd", "./plugins/devices/...", "./plugins/sinks/...", "./internal/bench/...")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
}

// running is a hostd in a folder of its own.
type running struct {
	b     *testing.B
	dir   string
	cmd   *exec.Cmd
	began time.Time
	ready chan time.Duration // gets the time from the start to the line that says so
	ended chan struct{}
	err   error // after ended
}

// start runs hostd with the devices, sinks and routes of the configuration; the rest of it is what every host has.
func start(b *testing.B, dir, flow string) *running {
	b.Helper()
	text := fmt.Sprintf("clinic: bench\ndata_dir: data\nplugins: {dir: %q}\nadmin: {listen: \"127.0.0.1:0\"}\n%s", program(b), flow)
	if err := os.WriteFile(filepath.Join(dir, "hostd.yaml"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	said, err := os.Create(filepath.Join(dir, "hostd.err"))
	if err != nil {
		b.Fatal(err)
	}
	h := &running{b: b, dir: dir, ready: make(chan time.Duration, 1), ended: make(chan struct{}), began: time.Now()}
	h.cmd = exec.CommandContext(context.Background(), filepath.Join(program(b), "hostd"), "run", "-c", "hostd.yaml")
	h.cmd.Dir, h.cmd.Stdout, h.cmd.Stderr, h.cmd.Env = dir, &readyLine{h: h}, said, environment()
	if err := h.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		h.err = errors.Join(h.cmd.Wait(), said.Close())
		close(h.ended)
	}()
	b.Cleanup(h.kill)
	return h
}

// environment is this process's, without what configures hostd.
func environment() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "HOSTD_") {
			env = append(env, kv)
		}
	}
	return env
}

// readyLine waits for the line in what hostd prints.
type readyLine struct {
	h    *running
	text []byte
	done bool
}

// Write is called by the one goroutine that copies hostd's output.
func (r *readyLine) Write(p []byte) (int, error) {
	if !r.done {
		r.text = append(r.text, p...)
		if bytes.Contains(r.text, []byte("ready")) {
			r.done = true
			r.h.ready <- time.Since(r.h.began)
		}
	}
	return len(p), nil
}

// awaitReady returns the time from the start to the ready line.
func (h *running) awaitReady() time.Duration {
	h.b.Helper()
	select {
	case d := <-h.ready:
		return d
	case <-h.ended:
	case <-time.After(readyWait):
	}
	h.b.Fatalf("hostd did not get ready:\n%s", h.words())
	return 0
}

// until looks again and again, at once and then after each pause, and fails when it takes longer than patience.
func (h *running) until(what string, pause, patience time.Duration, done func() bool) {
	h.b.Helper()
	tick, late := time.NewTicker(pause), time.NewTimer(patience)
	defer tick.Stop()
	defer late.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-h.ended:
			h.b.Fatalf("hostd ended (%v) before %s:\n%s", h.err, what, h.words())
		case <-late.C:
			h.b.Fatalf("no %s within %s:\n%s", what, patience, h.words())
		}
	}
}

// words is the end of what hostd said.
func (h *running) words() string {
	text, err := os.ReadFile(filepath.Join(h.dir, "hostd.err"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// stop ends hostd as an operator does, and frees the disk.
func (h *running) stop() {
	h.b.Helper()
	h.end()
	if err := os.RemoveAll(h.dir); err != nil {
		h.b.Error(err)
	}
}

// end ends hostd as an operator does.
func (h *running) end() {
	h.b.Helper()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		h.b.Fatalf("stop hostd: %v", err)
	}
	select {
	case <-h.ended:
	case <-time.After(stopWait):
		h.b.Fatalf("hostd did not stop:\n%s", h.words())
	}
	if h.err != nil {
		h.b.Errorf("hostd ended badly: %v\n%s", h.err, h.words())
	}
}

// kill is for a benchmark that failed; after stop it does nothing.
func (h *running) kill() {
	select {
	case <-h.ended:
	default:
		_ = h.cmd.Process.Kill() // it may end at this moment
		<-h.ended
	}
}
