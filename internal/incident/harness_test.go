package incident

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
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

	_ "modernc.org/sqlite"
)

// patience is for what takes a few seconds on a quiet machine.
var patience = flag.Duration("patience", 3*time.Minute, "for what takes a few seconds on a quiet machine")

const (
	look = 250 * time.Millisecond // between two points of a curve
	root = "../.."                // the module, seen from this package
)

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

// program builds everything once, and gives the path of one of the programs.
func program(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "hostd-incident-"); binaries.err != nil {
			return
		}
		cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", binaries.dir+string(filepath.Separator),
			"./cmd/hostd", "./plugins/devices/folder", "./plugins/devices/generator", "./plugins/sinks/...", "./internal/incident/...")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			binaries.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(binaries.dir, name)
}

// clinic is a folder with its configuration, and the host that runs on it.
type clinic struct {
	t     *testing.T
	dir   string
	addr  string
	cmd   *exec.Cmd
	out   *os.File // what the host printed
	ended chan struct{}
	err   error // after ended
}

// newClinic writes hostd.yaml: what every host has, and more.
func newClinic(t *testing.T, more string) *clinic {
	t.Helper()
	bin := filepath.Dir(program(t, "hostd"))
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &clinic{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.write("hostd.yaml", fmt.Sprintf("clinic: incident\ndata_dir: data\nplugins: {dir: '%s'}\nadmin: {listen: %q}\n%s", bin, c.addr, more))
	if c.out, err = os.Create(c.path("hostd.out")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
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

func (c *clinic) read(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(c.path(name))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	return string(text)
}

// start runs the host, and waits until it is ready.
func (c *clinic) start() {
	c.t.Helper()
	c.launch()
	c.until("the host is ready", func() bool { s, err := c.status(); return err == nil && s.Ready })
}

func (c *clinic) launch() {
	c.t.Helper()
	c.cmd = exec.CommandContext(context.Background(), program(c.t, "hostd"), "run", "-c", "hostd.yaml")
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = c.dir, c.out, c.out
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "HOSTD_") {
			c.cmd.Env = append(c.cmd.Env, kv)
		}
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	cmd, ended := c.cmd, make(chan struct{})
	c.ended = ended
	go func() {
		c.err = cmd.Wait()
		close(ended)
	}()
}

// stop asks the host to end, as an operator does on every system.
func (c *clinic) stop() {
	c.t.Helper()
	if code, body, err := c.call(http.MethodPost, "/api/v1/stop"); err != nil || code != http.StatusAccepted {
		c.t.Fatalf("stop: %d %s %v", code, body, err)
	}
	select {
	case <-c.ended:
	case <-time.After(*patience):
		c.t.Fatal("the host did not end")
	}
}

// end is for the end of the test, after which nothing of it runs.
func (c *clinic) end() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
	}
	c.out.Close()
	if c.t.Failed() {
		for _, name := range []string{"hostd.out", "log/hostd.log"} {
			text := c.read(name)
			c.t.Logf("--- %s\n%s", name, text[max(0, len(text)-6000):])
		}
	}
}

// run runs a command of hostd beside the host.
func (c *clinic) run(args ...string) (out string, err error) {
	cmd := exec.CommandContext(c.t.Context(), program(c.t, "hostd"), args...)
	cmd.Dir = c.dir
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// status is /api/v1/status, as far as this package looks at it.
type status struct {
	Ready bool `json:"ready"`
	Sinks []struct {
		Name      string `json:"name"`
		State     string `json:"state"`
		Delivered int64  `json:"delivered"`
		Backlog   int64  `json:"backlog"`
		Dead      int64  `json:"dead"`
		Error     string `json:"error"`
	} `json:"sinks"`
	Devices []struct {
		Name    string `json:"name"`
		Records int64  `json:"records"`
	} `json:"devices"`
	Pool struct {
		InUse     int    `json:"in_use"`
		WaitCount uint64 `json:"wait_count"`
	} `json:"pool"`
}

func (s *status) delivered(sink string) int64 {
	for _, k := range s.Sinks {
		if k.Name == sink {
			return k.Delivered
		}
	}
	return 0
}

func (s *status) received() (n int64) {
	for _, d := range s.Devices {
		n += d.Records
	}
	return n
}

func (c *clinic) status() (s status, err error) {
	_, body, err := c.call(http.MethodGet, "/api/v1/status")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	return s, err
}

func (c *clinic) call(method, path string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addr+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token := strings.TrimSpace(c.read("data/admin.token")); method != http.MethodGet {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(bytes.TrimSpace(text)), err
}

// until looks again and again until it is done, while the host runs.
func (c *clinic) until(what string, done func() bool) {
	c.t.Helper()
	tick := time.NewTicker(look / 5)
	defer tick.Stop()
	late := time.After(*patience)
	for !done() {
		select {
		case <-tick.C:
		case <-c.ended:
			c.t.Fatalf("%s: the host has ended: %v", what, c.err)
		case <-late:
			c.t.Fatalf("%s: not within %s", what, *patience)
		}
	}
}

// rows counts in a database file that nobody else has open.
func rows(t *testing.T, path, query string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}
