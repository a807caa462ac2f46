package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var allMutants = flag.Bool("mutants", false, "TestMutants holds that each proof fails on the host that it is there to find")

// mutation breaks hostd in one place of its source, for a build that never leaves the test.
type mutation struct {
	file, old, fresh string
	proof            []string // test and flags that must find it
	says             string   // in what the proof says
}

// mutants are the breaks that prove the proofs.
var mutants = map[string]mutation{
	"ack-early": { // a device is answered before its batch is stored
		"core/host/intake.go", "return i.spool.Append(ctx, batch, func(err error) { answer(reasoned(err)) })",
		"answer(nil); return i.spool.Append(ctx, batch, func(error) {})",
		[]string{"TestKill", "-cycles", "10"},
		"records are safe,",
	},
	"start-slow": { // something waits on the way to the ready line
		"core/host/host.go", "late := time.NewTimer(time.Until(h.started.Add(readyWait)))",
		"time.Sleep(3 * time.Second); late := time.NewTimer(time.Until(h.started.Add(readyWait)))",
		[]string{"TestStart"},
		"p99 of the start is",
	},
	"sync-error-passed-over": { // a failed fsync counts as done
		"core/internal/spool/commit.go", "if err := s.cur.Sync(); err != nil {", "if err := s.cur.Sync(); err != nil && len(buf) == 0 {",
		[]string{"TestSyscallKeepsFailing"},
		"went on while nothing could be stored",
	},
	"write-error-passed-over": { // a group that was not written is acknowledged
		"core/internal/spool/commit.go", "done(err) // Rule 18", "done(nil) // Rule 18",
		[]string{"TestDiskFull"},
		"the host's position of the witness is",
	},
	"leak": { // each batch leaves a goroutine behind
		"core/host/intake.go", "	count.received.Add(n)\n", "	count.received.Add(n)\n	go func() { select {} }()\n",
		[]string{"TestRestarts"},
		"left something",
	},
	"hoard": { // what came in stays in memory
		"core/host/intake.go", "	for n, body := range b.In.Records {\n", "	for n, body := range b.In.Records {\n" +
			"		k, _ := hoard.LoadOrStore(\"\", new([][]byte)); l := k.(*[][]byte); *l = append(*l, append([]byte(nil), body...))\n",
		[]string{"TestSinkAway", "-records", "60000"},
		"memory grew from",
	},
	"sync-left-out": { // the spool says that it has synced
		"core/internal/spool/disk.go", "func (f osFile) Sync() error { return datasync(f.File) }", "func (f osFile) Sync() error { return nil }",
		[]string{"TestPowerCut", "-cuts", "20"},
		"faults or more",
	},
	"wall-clock": { // what comes while the clock is behind the newest record is refused
		"core/host/intake.go", "	count.received.Add(n)\n", "	count.received.Add(n)\n" +
			"	if count.last.Load() > time.Now().UnixNano() {\n		b.Answer(errors.New(\"in the past\"))\n		return\n	}\n",
		[]string{"TestClock", "-steps", "4"},
		"the clock is put: not within",
	},
}

// hoardLine is what the mutant of that name needs beside its line.
const hoardLine = "\nvar hoard sync.Map\n"

// TestMutants runs each proof on a host with one line broken, and wants it to fail for that.
func TestMutants(t *testing.T) {
	if !*allMutants {
		t.Skip("only with -mutants")
	}
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"-test.run", "^" + m.proof[0] + "$", "-test.v", "-mutant", name}, m.proof[1:]...)
			out, err := exec.CommandContext(t.Context(), os.Args[0], args...).CombinedOutput()
			switch {
			case strings.Contains(string(out), "--- SKIP"):
				t.Skipf("the proof cannot run here:\n%s", out)
			case err == nil || !strings.Contains(string(out), m.says):
				t.Errorf("the proof has not found it (%v), it must say %q:\n%s", err, m.says, out)
			}
		})
	}
}

// mutated gives the mutant's source under the path that it stands for; nothing for no mutant.
func mutated(name string) (map[string]string, error) {
	if name == "" {
		return map[string]string{}, nil
	}
	m, ok := mutants[name]
	if !ok {
		return nil, fmt.Errorf("there is no mutant %q", name)
	}
	path, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if strings.Count(string(text), m.old) != 1 {
		return nil, fmt.Errorf("mutant %s: its line is not in %s, or not once", name, m.file)
	}
	fresh := strings.Replace(string(text), m.old, m.fresh, 1)
	if name == "hoard" {
		fresh += hoardLine
	}
	return map[string]string{path: fresh}, nil
}

// overlay gives the arguments that build with other texts in the place of files.
func overlay(dir string, texts map[string]string) ([]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	replace := map[string]string{}
	for path, text := range texts {
		other := filepath.Join(dir, fmt.Sprintf("overlay-%d.go.txt", len(replace)))
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			return nil, err
		}
		replace[path] = other
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay.json")
	return []string{"-overlay", file}, os.WriteFile(file, list, 0o600)
}
