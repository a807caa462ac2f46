package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for something that takes a second or two on a quiet machine.
const patience = 60 * time.Second

var binaries struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// programs builds hostd with its tools, every plugin and the sink picky once, and gives their folder.
func programs(t *testing.T) string {
	t.Helper()
	binaries.once.Do(func() {
		binaries.dir, binaries.err = os.MkdirTemp("", "hostd-e2e-")
		if binaries.err != nil {
			return
		}
		binaries.err = build(binaries.dir, ".", "../hostd-kit", "../../plugins/devices/...", "../../plugins/sinks/...", "./testdata/plugins/picky", "./testdata/plugins/recorder", "./testdata/plugins/teller")
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return binaries.dir
}

// build builds packages into a folder, for this platform.
func build(dir string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// builtInto builds packages into a folder of the test's own.
func builtInto(t *testing.T, dir string, args ...string) {
	t.Helper()
	if err := build(dir, args...); err != nil {
		t.Fatal(err)
	}
}

// alsoIn puts the plugins of these names into the folder, too.
func alsoIn(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(programs(t), exe(name)))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, exe(name)), b, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func hostdPath(t *testing.T) string { return filepath.Join(programs(t), exe("hostd")) }

// exe is the name of a program's file.
func exe(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return name
}

// clinic is one data folder with its configuration, and the host that may be running on it.
type clinic struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
	out  *bytes.Buffer // stdout and stderr of the host, complete after its end
	done chan error
}

// newClinic writes hostd.yaml: the head that all share, and the rest.
func newClinic(t *testing.T, rest string) *clinic {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &clinic{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	l.Close()
	head := fmt.Sprintf("clinic: test\ndata_dir: data\nplugins: {dir: '%s'}\nlogging: {level: info, file: {path: log/hostd.log}}\nadmin: {listen: %q}\n",
		programs(t), c.addr)
	c.write("hostd.yaml", head+rest)
	return c
}

func (c *clinic) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

func (c *clinic) write(name, text string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// start runs the host and waits for the line that says ready.
func (c *clinic) start() {
	c.t.Helper()
	r, w := io.Pipe()
	c.out = &bytes.Buffer{}
	c.cmd = exec.Command(hostdPath(c.t), "run", "-c", "hostd.yaml")
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = c.dir, w, w
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ready := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		said := false
		for in := bufio.NewReader(r); ; {
			line, err := in.ReadString('\n')
			c.out.WriteString(line)
			if !said && strings.HasPrefix(line, "hostd is ready") {
				said = true
				close(ready)
			}
			if err != nil {
				return
			}
		}
	}()
	done := make(chan error, 1)
	cmd := c.cmd
	go func() {
		err := cmd.Wait()
		w.Close()
		<-read
		done <- err
	}()
	c.done = done
	c.t.Cleanup(func() { cmd.Process.Kill() })
	select {
	case <-ready:
	case err := <-done:
		c.t.Fatalf("host ended before it was ready: %v\n%s", err, c.out)
	case <-time.After(patience):
		c.t.Fatal("host did not get ready")
	}
}

// kill ends the host as a power cut of the process would.
func (c *clinic) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.done
}

// stop asks the host to end, as the operator does on this system, and wants exit code 0.
func (c *clinic) stop() {
	c.t.Helper()
	token, err := os.ReadFile(c.path("data/admin.token"))
	if err != nil {
		c.t.Fatal(err)
	}
	if body, code := c.call(http.MethodPost, "/api/v1/stop", strings.TrimSpace(string(token))); code != http.StatusAccepted {
		c.t.Fatalf("stop: %d %s", code, body)
	}
	c.ended()
}

// status is /api/v1/status, as far as the tests look at it.
type status struct {
	Ready   bool           `json:"ready"`
	Devices []deviceStatus `json:"devices"`
	Sinks   []sinkStatus   `json:"sinks"`
	Alarms  []alarm        `json:"alarms"`
}

type alarm struct {
	Code    string `json:"code"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

type deviceStatus struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	State    string `json:"state"`
	Records  uint64 `json:"records"`
	HeldMS   int64  `json:"held_ms"`
	Restarts uint64 `json:"restarts"`
	Error    string `json:"error"`
}

type sinkStatus struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Delivered uint64 `json:"delivered"`
	Backlog   uint64 `json:"backlog"`
	Dead      uint64 `json:"dead"`
	Held      uint64 `json:"held"`
	Restarts  uint64 `json:"restarts"`
	Error     string `json:"error"`
}

func (c *clinic) ended() {
	c.t.Helper()
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Fatalf("host ended badly: %v\n%s", err, c.out)
		}
	case <-time.After(patience):
		c.t.Fatal("host did not end")
	}
}

// hostd runs a command beside the host and gives its output and exit code.
func (c *clinic) hostd(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, hostdPath(c.t), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (c *clinic) status() (s status) {
	c.t.Helper()
	body, code := c.get("/api/v1/status")
	if code != http.StatusOK {
		c.t.Fatalf("status: %d %s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *clinic) get(path string) (body string, code int) {
	c.t.Helper()
	return c.call(http.MethodGet, path, "")
}

func (c *clinic) call(method, path, token string) (body string, code int) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addr+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.log())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b), resp.StatusCode
}

func (c *clinic) log() string {
	b, err := os.ReadFile(c.path("log/hostd.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// until waits for a condition of the status.
func (c *clinic) until(what string, ok func(status) bool) status {
	c.t.Helper()
	var s status
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if s = c.status(); ok(s) {
			return s
		}
		time.Sleep(20 * time.Millisecond) // between two looks at another process
	}
	c.t.Fatalf("%s: not within %s: %+v\n%s", what, patience, s, c.log())
	return s
}

func device(s status, name string) deviceStatus {
	for _, d := range s.Devices {
		if d.Name == name {
			return d
		}
	}
	return deviceStatus{}
}

func sink(s status, name string) sinkStatus {
	for _, k := range s.Sinks {
		if k.Name == name {
			return k
		}
	}
	return sinkStatus{}
}
