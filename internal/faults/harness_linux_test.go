package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Flags that make a proof longer. They stand behind the package: go test -run TestKill ./internal/faults -cycles 100.
var (
	seedFlag = flag.Uint64("seed", 0, "repeats a run; 0 takes one from the clock")
	built    = flag.String("bin", "", "folder of built binaries, for comparing builds; empty builds them")
	patience = flag.Duration("patience", 2*time.Minute, "for what takes a second or two on a quiet machine")
	mutant   = flag.String("mutant", "", "a hostd with this line broken: the proof must fail")
	hosted   = flag.String("host", "", "of a mutant: a hostd with all such lines; empty builds it")
)

const (
	look = 20 * time.Millisecond // between two looks at another process
	root = "../.."               // the module, seen from this package
)

var binaries struct {
	once sync.Once
	dir  string // of the plugins and of the host as it is
	host string // the host that is proved: there, or the mutant's
	temp string // what is removed in the end; empty before there is something
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.temp != "" {
		os.RemoveAll(binaries.temp)
	}
	os.Exit(code)
}

// programs gives the folder with the plugins and the witness, and the path of hostd.
func programs(t *testing.T) (dir, host string) {
	t.Helper()
	binaries.once.Do(func() { binaries.err = build() })
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return binaries.dir, binaries.host
}

// build makes what is not there. A mutant is another hostd, beside the plugins as they are.
func build() (err error) {
	b := &binaries
	if b.temp, err = os.MkdirTemp("", "hostd-faults-"); err != nil {
		return err
	}
	if b.dir = filepath.Join(b.temp, "bin"); *built != "" {
		b.dir, err = filepath.Abs(*built)
	} else {
		err = buildWith(b.dir, "", nil, everything...)
	}
	switch {
	case err != nil:
		return err
	case *mutant == "":
		b.host = filepath.Join(b.dir, "hostd")
		return nil
	case *hosted != "":
		b.host, err = filepath.Abs(*hosted)
		return err
	}
	b.host = filepath.Join(b.temp, "mutant", "hostd")
	return buildBreakable(filepath.Dir(b.host))
}

// everything is hostd, its plugins and the witness.
var everything = []string{"./cmd/hostd", "./plugins/devices/...", "./plugins/sinks/...", "./internal/faults/witness"}

// buildWith builds programs into dir, with other texts in the place of files, which scratch takes.
func buildWith(dir, scratch string, texts map[string]string, packages ...string) error {
	over, err := overlay(scratch, texts)
	if err == nil {
		err = os.MkdirAll(dir, 0o700) // hostd refuses plugins of a folder that others can write
	}
	if err != nil {
		return err
	}
	args := append([]string{"build", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}, over...)
	return goBuild(append(args, packages...))
}

func goBuild(args []string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// seeded gives the run's random numbers, and says their seed beside a failure.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	if testing.Short() {
		t.Skip("breaks real processes for some seconds")
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// clinic is one folder with its configuration, and the host that may be running on it.
type clinic struct {
	t    *testing.T
	dir  string
	data string // data_dir
	temp string // of the host and its plugins
	addr string
	http *http.Client // one connection, which is one in what the host holds
	bin  string       // folder of the plugins
	host string       // hostd
	wrap []string     // command that runs the host, such as strace; empty for none

	broken string // the mutant that the host is, where it has the lines of all

	archive string        // folder of the file sink
	flow    func() string // devices and sinks under load
	lost    int64         // records that damage has cost

	cmd   *exec.Cmd
	ready chan time.Duration // gets the time from the start to the line that says so
	ended chan struct{}
	err   error    // after ended
	out   *os.File // what hostd printed, of every start
}

// newClinic has a folder of its own, and no configuration yet.
func newClinic(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{t: t, dir: t.TempDir()}
	c.bin, c.host = programs(t)
	c.broken = *mutant
	c.http = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	t.Cleanup(c.http.CloseIdleConnections)
	c.data, c.archive, c.flow = c.path("data"), c.path("archive"), c.loud
	var err error
	if c.addr, err = freeAddr(t); err != nil {
		t.Fatal(err)
	}
	if c.out, err = os.OpenFile(c.path("hostd.out"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	// A host that is killed leaves the folder of its sockets, whose path must be short.
	if c.temp, err = os.MkdirTemp("", "hostd-faults-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(c.temp) })
	t.Cleanup(func() { c.out.Close() })
	t.Cleanup(c.end)
	return c
}

func freeAddr(t *testing.T) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (c *clinic) path(name string) string { return filepath.Join(c.dir, name) }

func (c *clinic) write(name, text string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// configure writes hostd.yaml: what every host has, and the flow.
func (c *clinic) configure(flow string) {
	c.t.Helper()
	c.write("hostd.yaml", fmt.Sprintf("clinic: faults\ndata_dir: %q\nplugins: {dir: %q}\nadmin: {listen: %q}\n", c.data, c.bin, c.addr)+
		"logging: {level: info, file: {path: log/hostd.log}}\n"+flow)
}

// launch starts the host and does not wait for anything.
func (c *clinic) launch() {
	c.t.Helper()
	began := time.Now()
	r, w := io.Pipe()
	args := append(append([]string{}, c.wrap...), c.host, "run", "-c", "hostd.yaml")
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.SysProcAttr = c.dir, w, w, c.environment(), endsWithUs()
	cmd.WaitDelay = orphanSlow // a plugin that is left may hold the output
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ready, ended, read := make(chan time.Duration, 1), make(chan struct{}), make(chan struct{})
	c.cmd, c.ready, c.ended, c.err = cmd, ready, ended, nil
	go func() {
		defer close(read)
		for in := bufio.NewScanner(r); in.Scan(); {
			fmt.Fprintln(c.out, in.Text())
			if strings.HasPrefix(in.Text(), "hostd is ready") {
				ready <- time.Since(began)
			}
		}
	}()
	go func() {
		err := cmd.Wait()
		w.Close()
		<-read
		c.err = err
		close(ended)
	}()
}

// endsWithUs lets a process end with this one, which may be interrupted.
func endsWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// environment is this process's, without what configures hostd.
func (c *clinic) environment() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "HOSTD_") {
			env = append(env, kv)
		}
	}
	return append(env, "TMPDIR="+c.temp, "BROKEN="+c.broken)
}

// start launches the host, waits for its ready line, and gives the time that it took.
func (c *clinic) start() time.Duration {
	c.t.Helper()
	c.launch()
	select {
	case took := <-c.ready:
		return took
	case <-c.ended:
		c.t.Fatalf("host ended before it was ready: %v", c.err)
	case <-time.After(*patience):
		c.t.Fatalf("host did not get ready")
	}
	return 0
}

// kill ends the host with SIGKILL; its plugins end by themselves.
func (c *clinic) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
	<-c.ended
}

// end is kill for the test's end, after which nothing of it runs.
func (c *clinic) end() {
	if c.cmd != nil {
		c.cmd.Process.Kill()
		<-c.ended
	}
	if c.t.Failed() {
		c.t.Logf("what the host said last:\n%s", c.tail())
	}
}

// stop asks the host to end as the operator does, and wants exit code 0.
func (c *clinic) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.ended:
		if c.err != nil {
			c.t.Fatalf("host ended badly: %v", c.err)
		}
	case <-time.After(*patience):
		c.t.Fatalf("host did not end")
	}
}

// alive is true while the process of the last start runs.
func (c *clinic) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// tail is the end of the host's log and of what it printed.
func (c *clinic) tail() string {
	var text strings.Builder
	for _, name := range []string{"hostd.out", "log/hostd.log"} {
		b, _ := os.ReadFile(c.path(name))
		fmt.Fprintf(&text, "--- %s\n%s", name, b[max(0, len(b)-3000):])
	}
	return text.String()
}

// status is /api/v1/status, as far as the proofs look at it.
type status struct {
	Ready   bool           `json:"ready"`
	Devices []deviceStatus `json:"devices"`
	Sinks   []sinkStatus   `json:"sinks"`
	Alarms  []alarm        `json:"alarms"`
	Spool   struct {
		Quarantined int64 `json:"quarantined"`
		Bytes       int64 `json:"bytes"`
	} `json:"spool"`
}

type deviceStatus struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Records  int64  `json:"records"`
	Restarts uint64 `json:"restarts"`
	Error    string `json:"error"`

	LastRecordAt time.Time `json:"last_record_at"`
}

type sinkStatus struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Delivered int64  `json:"delivered"`
	Backlog   int64  `json:"backlog"`
	Dead      int64  `json:"dead"`
	Restarts  uint64 `json:"restarts"`
	Error     string `json:"error"`
}

type alarm struct {
	Code    string `json:"code"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

func (s *status) device(name string) deviceStatus {
	for _, d := range s.Devices {
		if d.Name == name {
			return d
		}
	}
	return deviceStatus{}
}

func (s *status) sink(name string) sinkStatus {
	for _, k := range s.Sinks {
		if k.Name == name {
			return k
		}
	}
	return sinkStatus{}
}

// ask gives a page, or an error where nobody answers.
func (c *clinic) ask(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

func (c *clinic) status() (s status, err error) {
	body, err := c.ask("/api/v1/status")
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// within waits for a condition of the status, and says whether it came.
func (c *clinic) within(long time.Duration, ok func(*status) bool) (last status, err error) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(look) {
		if !c.alive() {
			return last, fmt.Errorf("the host has ended: %w", c.err)
		}
		if last, err = c.status(); err == nil && ok(&last) {
			return last, nil
		}
	}
	return last, errors.Join(fmt.Errorf("not within %s: %+v", long, last), err)
}

// until is within, for a proof that cannot go on without.
func (c *clinic) until(what string, ok func(*status) bool) status {
	c.t.Helper()
	s, err := c.within(*patience, ok)
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	return s
}

// eventually waits for a condition outside the host.
func (c *clinic) eventually(what string, long time.Duration, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(look) {
		if ok() {
			return
		}
	}
	c.t.Fatalf("%s: not within %s", what, long)
}
