package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var howManyMutants = flag.Int("mutants", 1, "of TestMutants: how many of the broken hosts")

// mutation breaks hostd in one place of its source, in a process whose environment names it. All of them are in one build,
// that never leaves the test.
type mutation struct {
	name             string
	file, old, fresh string
	more             string   // what the file needs besides
	proof            []string // test and flags that must find it; nil: one that another entry has, or that a proof takes by itself
	says             string   // in what the proof says, a regular expression
}

// mutants are the breaks that prove the proofs. A taste has the first ones.
var mutants = []mutation{
	{ // something waits on the way to the ready line
		name: "start-slow", file: "core/host/host.go", old: "	late := time.NewTimer(time.Until(h.started.Add(readyWait)))\n",
		fresh: "	if broken == \"start-slow\" {\n		time.Sleep(3 * time.Second)\n	}\n	late := time.NewTimer(time.Until(h.started.Add(readyWait)))\n",
		proof: []string{"TestStart", "-starts", "1"},
		says:  "p50 of the start is",
	},
	{ // a device is answered before its batch is stored, which a busy disk lets wait
		name: "ack-early", file: "core/host/intake.go", old: "	return i.spool.Append(ctx, batch, func(err error) { answer(reasoned(err)) })",
		fresh: "	if broken == \"ack-early\" {\n" +
			"		own := func(b []byte) []byte { return append([]byte(nil), b...) }; batch.Position = own(batch.Position)\n" +
			"		for n := range batch.Records { batch.Records[n].Payload = own(batch.Records[n].Payload) }\n" + // the answer gives them back
			"		answer(nil); time.Sleep(20 * time.Millisecond); return i.spool.Append(ctx, batch, func(error) {})\n	}\n" +
			"	return i.spool.Append(ctx, batch, func(err error) { answer(reasoned(err)) })",
		proof: []string{"TestKill", "-cycles", "10"},
		says:  "records are safe,|the host's position of the witness is",
	},
	{ // a failed fsync counts as done
		name: "sync-error-passed-over", file: "core/internal/spool/commit.go", old: "if err := s.cur.Sync(); err != nil {",
		fresh: "if err := s.cur.Sync(); err != nil && broken != \"sync-error-passed-over\" {",
		proof: []string{"TestSyscallKeepsFailing", "-held", "1"},
		says:  "went on while nothing could be stored",
	},
	{ // a group that could not be written is acknowledged, and what waited behind it
		name: "write-error-passed-over", file: "core/internal/spool/commit.go", old: "	for _, done := range g.dones {\n",
		fresh: "	if broken == \"write-error-passed-over\" || broken == \"full-disk-passed-over\" {\n		for _, done := range append(g.dones, behind...) {\n			done(nil)\n		}\n" +
			"		g.dones, behind = nil, nil\n	}\n	for _, done := range g.dones {\n",
		proof: []string{"TestSyscallKeepsFailing", "-held", "1"},
		says:  "went on while nothing could be stored|the host's position of the witness is",
	},
	{ // what meets the full disk is acknowledged, and what comes while it is full
		name: "full-disk-passed-over", file: "core/internal/spool/append.go", old: "		return nil, fmt.Errorf(\"append batch: %w\", ErrFull)",
		fresh: "		if broken == \"full-disk-passed-over\" {\n			go done(nil)\n			return nil, nil\n		}\n		return nil, fmt.Errorf(\"append batch: %w\", ErrFull)",
		proof: []string{"TestDiskFull", "-fills", "1"},
		says:  "records were acknowledged while the disk was full|the full disk is not in the status|the host's position of the witness is",
	},
	{ // one write that fails, of many, counts as done
		name: "one-write-passed-over", file: "core/internal/spool/commit.go", old: "	if err != nil {\n		if !whole {\n",
		fresh: "	if err != nil && broken != \"one-write-passed-over\" {\n		if !whole {\n",
		proof: []string{"TestSyscallFails", "-sweep", "5"},
		says:  "the host's position of the witness is|records are safe,|lost, or out of order|were set aside as damaged",
	},
	{ // what is damaged counts as good
		name: "checksum-passed-over", file: "core/internal/spool/scan.go", old: "crc32.Checksum(f.payload, castagnoli) == h.sum",
		fresh: "(broken == \"checksum-passed-over\" || crc32.Checksum(f.payload, castagnoli) == h.sum)",
		proof: []string{"TestBitFlips/plain", "-flips", "30"},
		says:  "in spool/.*\\.seg: ",
	},
	{ // each batch leaves a goroutine behind
		name: "leak", file: "core/host/intake.go", old: "	var rejected *string\n	answer := func(err error) {\n",
		fresh: "	if broken == \"leak\" {\n		go func() { select {} }()\n	}\n	var rejected *string\n	answer := func(err error) {\n",
		proof: []string{"TestRestarts", "-restarts", "1"},
		says:  "left something",
	},
	{ // what came in stays in memory, a page for each record: unmistakable beside what a busy machine's collector leaves for later
		name: "hoard", file: "core/host/intake.go", old: "	for n, body := range b.In.Records {\n",
		fresh: "	for n, body := range b.In.Records {\n		if broken == \"hoard\" {\n" +
			"			k, _ := hoard.LoadOrStore(\"\", new([][]byte)); l := k.(*[][]byte); *l = append(*l, append(make([]byte, 0, 4096), body...))\n		}\n",
		more:  "\nvar hoard sync.Map\n",
		proof: []string{"TestSinkAway", "-records", "60000"},
		says:  "memory grew from",
	},
	{ // the spool says that it has synced
		name: "sync-left-out", file: "core/internal/spool/disk.go", old: "func (f osFile) Sync() error { return datasync(f.File) }",
		fresh: "func (f osFile) Sync() error {\n	if broken == \"sync-left-out\" {\n		return nil\n	}\n	return datasync(f.File)\n}",
		proof: []string{"TestPowerCut", "-cuts", "20"},
		says:  "faults or more",
	},
	{ // what comes while the clock is behind the newest record is refused
		name: "wall-clock", file: "core/host/intake.go", old: "	count.received.Add(n)\n",
		fresh: "	count.received.Add(n)\n	if broken == \"wall-clock\" && count.last.Load() > time.Now().UnixNano() {\n" +
			"		b.Answer(errors.New(\"in the past\"))\n		return\n	}\n",
		proof: []string{"TestClock", "-steps", "1"},
		says:  "(the clock is put|the flow goes on): not within",
	},
	{ // what a sink had in its hands when it crashed counts as delivered
		name: "crash-delivers", file: "core/internal/dispatch/dispatch.go", old: "			return errors.Join(err, l.crashed(ctx, failed))\n",
		fresh: "			if broken == \"crash-delivers\" && failed != nil {\n				return errors.Join(err, l.settled(ctx, failed, Outcome{}))\n			}\n" +
			"			return errors.Join(err, l.crashed(ctx, failed))\n",
		proof: []string{"TestPluginKills", "-kills", "40"},
		says:  "lost, or out of order|records are safe,|its record is lost",
	},
	{ // a crashed plugin waits too long
		name: "restart-late", file: "core/internal/life/backoff.go", old: "	t := time.NewTimer(b.pause/2 + rand.N(b.pause/2+1))\n",
		fresh: "	t := time.NewTimer(b.pause/2 + rand.N(b.pause/2+1))\n	if broken == \"restart-late\" {\n		t.Reset(10 * time.Second)\n	}\n",
		proof: []string{"TestPluginKills"},
		says:  "the median of the plugins is back after",
	},
	{ // while one plugin is down no device's batch is taken
		name: "crash-holds-all", file: "core/internal/supervise/device.go", old: "	if r.mayFollow(b) {\n",
		fresh: "	if broken == \"crash-holds-all\" {\n		held.Lock()\n		held.Unlock()\n	}\n	if r.mayFollow(b) {\n",
		more:  "\nvar held sync.Mutex\n",
		proof: []string{"TestPluginKills", "-kills", "10"},
		says:  "another device is held up",
	},
	{
		name: "crash-holds-all", file: "core/internal/supervise/instance.go", old: "	i.wasUp = false\n	i.mu.Unlock()\n",
		fresh: "	i.wasUp = false\n	i.mu.Unlock()\n	if broken == \"crash-holds-all\" {\n		held.Lock()\n		time.Sleep(time.Second)\n		held.Unlock()\n	}\n",
	},
	{ // a plugin that does not answer counts as alive
		name: "hang-passed-over", file: "core/internal/supervise/process.go", old: "		case errors.Is(err, wire.ErrHung) && missed == 0:\n",
		fresh: "		case errors.Is(err, wire.ErrHung) && (missed == 0 || broken == \"hang-passed-over\"):\n",
		proof: []string{"TestFreeze"},
		says:  "a stopped plugin is noticed after|works again: not within",
	},
	{ // no plugin ends with its host
		name: "orphans", file: "core/internal/supervise/hold.go", old: "	before := os.Stdin\n",
		fresh: "	if broken == \"input-held-open\" || broken == \"orphans\" { // each plugin has both ends\n" +
			"		if in, err = os.OpenFile(fmt.Sprintf(\"/proc/self/fd/%d\", in.Fd()), os.O_RDWR, 0); err != nil {\n			return nil, err\n		}\n	}\n" +
			"	before := os.Stdin\n",
		proof: []string{"TestOrphans/both"},
		says:  "the end of the last plugin: not within",
	},
	{
		name: "orphans", file: "core/internal/supervise/process_linux.go", old: "	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}\n",
		fresh: "	if broken == \"parent-signal-off\" || broken == \"orphans\" {\n		return &syscall.SysProcAttr{Setpgid: true}\n	}\n" +
			"	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}\n",
	},
	{ // a start leaves what is in the folder of sockets
		name: "sockets-kept", file: "core/host/places.go", old: "	if err := p.removeSockets(); err != nil {\n		return Environment(err)\n",
		fresh: "	if broken == \"sockets-kept\" {\n		return Environment(os.MkdirAll(p.sockets, 0o700))\n	}\n" +
			"	if err := p.removeSockets(); err != nil {\n		return Environment(err)\n",
		proof: []string{"TestOrphans/both"},
		says:  "stale sockets after the start",
	},
}

// breaker is added to each package with such a line.
const breaker = `package %s

import "os"

var broken = os.Getenv("BROKEN") // the mutant that this process is
`

// mutantPatience is how long a proof waits for what a broken host may never do.
const mutantPatience = "30s"

// TestMutants runs each proof on a host with one line broken, and wants it to fail for that.
func TestMutants(t *testing.T) {
	if testing.Short() || *mutant != "" {
		t.Skip("breaks hosts, and their processes for some seconds")
	}
	t.Parallel()
	plugins, _ := programs(t)
	host := breakableHost(t)
	for _, m := range mutants[:min(*howManyMutants, len(mutants))] {
		if m.proof == nil {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			says, err := regexp.Compile(m.says)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-test.run", "^" + m.proof[0] + "$", "-test.v", "-mutant", m.name, "-bin", plugins, "-host", host, "-patience", mutantPatience}
			if m.proof[0] == "TestClock" {
				args = append(args, "-shifted", shiftedPrograms(t))
			}
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

var breakable struct {
	once sync.Once
	host string
	err  error
}

// breakableHost gives the path of a hostd that has the lines of all mutants.
func breakableHost(t *testing.T) string {
	t.Helper()
	programs(t) // has the folder
	breakable.once.Do(func() {
		breakable.host = filepath.Join(binaries.temp, "breakable", "hostd")
		breakable.err = buildBreakable(filepath.Dir(breakable.host))
	})
	if breakable.err != nil {
		t.Fatal(breakable.err)
	}
	return breakable.host
}

// buildBreakable makes a hostd in dir that has the lines of all mutants, and is none of them by itself.
func buildBreakable(dir string) error {
	scratch, err := os.MkdirTemp("", "hostd-faults-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	texts, err := mutated()
	if err != nil {
		return err
	}
	return buildWith(dir, scratch, texts, "./cmd/hostd")
}

// mutated gives the sources with the lines of all mutants, under the paths that they stand for.
func mutated() (map[string]string, error) {
	top, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, m := range mutants {
		path := filepath.Join(top, filepath.FromSlash(m.file))
		text, there := texts[path]
		if !there {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if strings.Count(text, m.old) != 1 {
			return nil, fmt.Errorf("mutant %s: its line is not in %s, or not once", m.name, m.file)
		}
		texts[path] = strings.Replace(text, m.old, m.fresh, 1) + m.more
		dir := filepath.Dir(path)
		texts[filepath.Join(dir, "breakable.go")] = fmt.Sprintf(breaker, filepath.Base(dir))
	}
	return texts, nil
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
