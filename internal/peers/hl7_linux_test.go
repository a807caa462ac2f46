package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The peers come from Debian (python3-hl7) and from npm.
var peers = flag.String("peers", "", "folder in which `npm install simple-hl7 @medplum/hl7 @medplum/core` was run, or an empty one; without it everything is skipped")

const (
	root     = "../.." // the module
	patience = 60 * time.Second
	look     = 20 * time.Millisecond
	messages = 20
)

// TestHL7Clients has each client send its messages to hl7-mllp, through hostd into a file, and understand the answers.
func TestHL7Clients(t *testing.T) {
	if *peers == "" {
		t.Skip("other people's programs are asked only with -peers DIR, where npm has installed them")
	}
	clients := map[string]func(t *testing.T, port, file string) *exec.Cmd{
		"python3-hl7": func(t *testing.T, port, file string) *exec.Cmd {
			name, err := exec.LookPath("mllp_send")
			if err != nil {
				t.Skip("mllp_send is not installed: apt-get install python3-hl7")
			}
			return exec.CommandContext(t.Context(), name, "--loose", "--port", port, "--file", file, "127.0.0.1")
		},
		"simple-hl7":   func(t *testing.T, port, file string) *exec.Cmd { return node(t, "simple-hl7", port, file) },
		"@medplum/hl7": func(t *testing.T, port, file string) *exec.Cmd { return node(t, "@medplum/hl7", port, file) },
	}
	bin := build(t)
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "messages.hl7")
			if err := os.WriteFile(file, []byte(strings.Join(texts(), "")), 0o600); err != nil {
				t.Fatal(err)
			}
			addr := freePort(t)
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			cmd := client(t, port, file)
			start(t, bin, dir, addr)
			said, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if n := bytes.Count(said, []byte("MSA|AA|PEER-")); n != messages {
				t.Errorf("the client has %d answers for %d messages:\n%s", n, messages, said)
			}
			var want []string
			for n := range messages {
				want = append(want, patient(n))
			}
			if got := stored(t, dir); !slices.Equal(got, want) {
				t.Errorf("stored %v", got)
			}
		})
	}
}

// node runs the client of a package of npm.
func node(t *testing.T, name, port, file string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	modules, err := filepath.Abs(filepath.Join(*peers, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, name)); err != nil {
		t.Skipf("%s is not installed in -peers DIR", name)
	}
	script, err := filepath.Abs(filepath.Join("testdata", strings.Trim(strings.ReplaceAll(name, "/", "-"), "@")+".js"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, script, port, file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	return cmd
}

func patient(n int) string { return fmt.Sprintf("P-%03d", n) }

// texts are the messages, with CR LF behind each segment, as in a file that a person has edited.
func texts() (list []string) {
	for n := range messages {
		list = append(list, fmt.Sprintf("MSH|^~\\&|PEER|CLINIC01|HOSTD|CLINIC01|20250314101530||ORU^R01^ORU_R01|PEER-%d|P|2.5.1\r\n"+
			"PID|1||%s^^^CLINIC01^MR||Invented^Probe||19700315|F\r\nOBR|1||EX-%d|autoref^Autorefraction^99EYE|||20250314090500\r\n"+
			"OBX|1|NM|sphere^sphere^99EYE|R.0|-1.25|[diop]^^UCUM|||||F\r\n", n, patient(n), n))
	}
	return list
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// build makes hostd and the plugins, in a folder that goes with the test.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "./cmd/hostd", "./plugins/devices/hl7-mllp", "./plugins/sinks/file")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// start runs hostd in dir, and waits until its device listens on addr.
func start(t *testing.T, bin, dir, addr string) {
	t.Helper()
	text := fmt.Sprintf("clinic: peers\ndata_dir: data\nplugins: {dir: %q}\nadmin: {listen: \"127.0.0.1:0\"}\n"+
		"devices: [{name: mllp, plugin: hl7-mllp, settings: {listen: %q}}]\nsinks: [{name: lines, plugin: file, settings: {dir: out}}]\n", bin, addr)
	if err := os.WriteFile(filepath.Join(dir, "hostd.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	host := exec.CommandContext(context.Background(), filepath.Join(bin, "hostd"), "run", "-c", "hostd.yaml")
	host.Dir, host.Stdout, host.Stderr = dir, &said, &said
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(host.Process.Signal(os.Interrupt), host.Wait()); err != nil {
			t.Errorf("hostd: %v\n%s", err, said.String())
		}
	})
	until(t, "port", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick, late := time.NewTicker(look), time.After(patience)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// stored are the patients in the sink's files, in order, when as many lines as messages are there.
func stored(t *testing.T, dir string) (patients []string) {
	t.Helper()
	until(t, "lines", func() bool {
		patients = nil
		names, err := filepath.Glob(filepath.Join(dir, "out", "*.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(text) {
				var r struct {
					Data struct {
						Patient struct{ ID string }
					}
				}
				if err := json.Unmarshal(line, &r); err == nil { // one that is being written is torn
					patients = append(patients, r.Data.Patient.ID)
				}
			}
		}
		return len(patients) >= messages
	})
	return patients
}
