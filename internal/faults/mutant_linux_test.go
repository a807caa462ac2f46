package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var howManyMutants = flag.Int("mutants", 1, "of TestMutants: how many of the broken hosts")

// mutation breaks hostd in one place of its source, for a build that never leaves the test.
type mutation struct {
	name             string
	file, old, fresh string
	proof            []string // test and flags that must find it
	says             string   // in what the proof says, a regular expression
}

// mutants are the breaks that prove the proofs. A taste has the first ones.
var mutants = []mutation{
	{ // something waits on the way to the ready line
		"start-slow", "core/host/host.go", "late := time.NewTimer(time.Until(h.started.Add(readyWait)))",
		"time.Sleep(3 * time.Second); late := time.NewTimer(time.Until(h.started.Add(readyWait)))",
		[]string{"TestStart", "-starts", "1"},
		"p50 of the start is",
	},
	{ // a device is answered before its batch is stored, which a busy disk lets wait
		"ack-early", "core/host/intake.go", "return i.spool.Append(ctx, batch, func(err error) { answer(reasoned(err)) })",
		"own := func(b []byte) []byte { return append([]byte(nil), b...) }; batch.Position = own(batch.Position)\n" +
			"for n := range batch.Records { batch.Records[n].Payload = own(batch.Records[n].Payload) }\n" + // the answer gives them back
			"answer(nil); time.Sleep(20 * time.Millisecond); return i.spool.Append(ctx, batch, func(error) {})",
		[]string{"TestKill", "-cycles", "10"},
		"records are safe,|the host's position of the witness is",
	},
	{ // a failed fsync counts as done
		"sync-error-passed-over", "core/internal/spool/commit.go", "if err := s.cur.Sync(); err != nil {", "if err := s.cur.Sync(); err != nil && len(buf) == 0 {",
		[]string{"TestSyscallKeepsFailing", "-held", "1"},
		"went on while nothing could be stored",
	},
	{ // a group that was not written is acknowledged, of many
		"write-error-passed-over", "core/internal/spool/commit.go", "done(err) // Rule 18", "done(nil) // Rule 18",
		[]string{"TestDiskFull", "-fills", "1"},
		"the host's position of the witness is|intake went on while the disk was full",
	},
	{ // and of one
		"one-write-passed-over", "core/internal/spool/commit.go", "done(err) // Rule 18", "done(nil) // Rule 18",
		[]string{"TestSyscallFails", "-sweep", "14"},
		"the host's position of the witness is|records are safe,",
	},
	{ // what is damaged counts as good
		"checksum-passed-over", "core/internal/spool/scan.go", "crc32.Checksum(f.payload, castagnoli) == h.sum", "crc32.Checksum(f.payload, castagnoli) < 1<<32-1",
		[]string{"TestBitFlips/plain", "-flips", "30"},
		"in spool/.*\\.seg: ",
	},
	{ // each batch leaves a goroutine behind
		"leak", "core/host/intake.go", "	count.received.Add(n)\n", "	count.received.Add(n)\n	go func() { select {} }()\n",
		[]string{"TestRestarts", "-restarts", "1"},
		"left something",
	},
	{ // what came in stays in memory
		"hoard", "core/host/intake.go", "	for n, body := range b.In.Records {\n", "	for n, body := range b.In.Records {\n" +
			"		k, _ := hoard.LoadOrStore(\"\", new([][]byte)); l := k.(*[][]byte); *l = append(*l, append([]byte(nil), body...))\n",
		[]string{"TestSinkAway", "-records", "60000"},
		"memory grew from",
	},
	{ // the spool says that it has synced
		"sync-left-out", "core/internal/spool/disk.go", "func (f osFile) Sync() error { return datasync(f.File) }", "func (f osFile) Sync() error { return nil }",
		[]string{"TestPowerCut", "-cuts", "20"},
		"faults or more",
	},
	{ // what comes while the clock is behind the newest record is refused
		"wall-clock", "core/host/intake.go", "	count.received.Add(n)\n", "	count.received.Add(n)\n" +
			"	if count.last.Load() > time.Now().UnixNano() {\n		b.Answer(errors.New(\"in the past\"))\n		return\n	}\n",
		[]string{"TestClock", "-steps", "2"},
		"(the clock is put|the flow goes on): not within",
	},
}

// hoardLine is what the mutant of that name needs beside its line.
const hoardLine = "\nvar hoard sync.Map\n"

// mutantPatience is how long a proof waits for what a broken host may never do.
const mutantPatience = "30s"

// TestMutants runs each proof on a host with one line broken, and wants it to fail for that.
func TestMutants(t *testing.T) {
	if testing.Short() || *mutant != "" {
		t.Skip("builds broken hosts, and breaks their processes for some seconds")
	}
	plugins, _ := programs(t)
	for _, m := range mutants[:min(*howManyMutants, len(mutants))] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			says, err := regexp.Compile(m.says)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-test.run", "^" + m.proof[0] + "$", "-test.v", "-mutant", m.name, "-bin", plugins, "-patience", mutantPatience}
			cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, m.proof[1:]...)...)
			cmd.SysProcAttr = endsWithUs()
			out, err := cmd.CombinedOutput()
			switch {
			case strings.Contains(string(out), "--- SKIP"):
				t.Skipf("the proof cannot run here:\n%s", out)
			case err == nil || !says.Match(out):
				t.Errorf("the proof has not found it (%v), it must say %q:\n%s", err, m.says, out)
			default:
				t.Logf("%q", says.Find(out))
			}
		})
	}
}

// mutated gives the mutant's source under the path that it stands for; nothing for no mutant.
func mutated(name string) (map[string]string, error) {
	if name == "" {
		return map[string]string{}, nil
	}
	at := slices.IndexFunc(mutants, func(m mutation) bool { return m.name == name })
	if at < 0 {
		return nil, fmt.Errorf("there is no mutant %q", name)
	}
	m := &mutants[at]
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
