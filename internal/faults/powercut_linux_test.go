package faults

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var cuts = flag.Int("cuts", 0, "of TestPowerCut: how often the power is cut; 0 skips it, for its file system is a module of its own")

// lookAfterCuts is after how many cuts the verdict is given in between: SQLite is slow on this disk, and falls behind.
const lookAfterCuts = 20

// mostSyncs is how many fsyncs a cut waits for at most, when it comes before one. A start has some ten.
const mostSyncs = 25

// supply is a running powercut: the disk under data_dir, and its switch.
type supply struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// supplied mounts an empty disk on the folder.
func supplied(t *testing.T, dir string) *supply {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	needRoot(t)
	program := filepath.Join(t.TempDir(), "powercut")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Dir, build.Env = "powercut", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("the disk with a switch cannot be built here: %v\n%s", err, out)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &supply{t: t, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("powercut: %v", err)
		}
	})
	s.answered("mount")
	return s
}

// do gives a command and waits until it is done.
func (s *supply) do(format string, args ...any) {
	s.t.Helper()
	line := fmt.Sprintf(format, args...)
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		s.t.Fatal(err)
	}
	s.answered(line)
}

func (s *supply) answered(line string) {
	s.t.Helper()
	if !s.out.Scan() || s.out.Text() != "ok" {
		s.t.Fatalf("powercut: %s: %q %v", line, s.out.Text(), s.out.Err())
	}
}

// underPower is the flow of loud with everything that the host and its sinks write on the disk that is cut: the spool,
// SQLite with its own promises, and the file sink. The journal and the share are outside. Each 40th record is larger than a
// message, so that attachments are cut as well.
func (c *clinic) underPower() string {
	return strings.NewReplacer("dir: archive", fmt.Sprintf("dir: %q", filepath.Join(c.data, "archive")),
		"plugin: sql}", "plugin: sql, batch: 100}", "rate: 400", "rate: 50", "size: 600}", "size: 300, large: 40}", "rate: 1000", "rate: 200").Replace(c.loud())
}

// TestPowerCut cuts the power of the disk under data_dir again and again, at random instants of the host's life and of its start,
// and before random fsyncs of either: what was not synced is there in part, or not at all. Of two cuts one makes directory entries
// safe with any fsync, the other only with their own directory's. The spool is sealed or not, by chance at each start.
func TestPowerCut(t *testing.T) {
	if *cuts == 0 {
		t.Skip("only with -cuts")
	}
	random, began := seeded(t), time.Now()
	c, o := newClinic(t), newOracle()
	power := supplied(t, c.data)
	c.write("spool.key", strings.Repeat("0a", 32))
	c.archive, c.flow = filepath.Join(c.data, "archive"), func() string { return sealedOrNot(c.underPower(), random) }
	starting := 0
	for n := range *cuts {
		c.configure(c.flow())
		c.drop(o, 2)
		if c.cutPower(power, random, []string{"strict", "journal"}[(n+1)%2]) {
			starting++
		}
		if (n+1)%lookAfterCuts == 0 && n+1 < *cuts {
			told := c.account(o)
			t.Logf("%d cuts: %d records of the witness, none lost", n+1, told)
		}
	}
	told := c.account(o)
	said, err := os.ReadFile(c.path("log/hostd.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts, %d of them before the host was ready, %d torn ends, %d torn heads, %d readings that were wrong at the first look: %d records of the witness, %d of the generator, %d files, none lost; %s a cut",
		*cuts, starting, bytes.Count(said, []byte("torn end of the log")), bytes.Count(said, []byte("never synced")), bytes.Count(said, []byte("at the second look"))+bytes.Count(said, []byte(io.ErrUnexpectedEOF.Error())),
		told, o.row["gen"].last, len(o.share), (time.Since(began) / time.Duration(*cuts)).Round(time.Millisecond))
}

// sealedOrNot turns sealing on or off by chance. The key stays: it opens what is sealed already.
func sealedOrNot(flow string, random *rand.Rand) string {
	return strings.Replace(flow, "spool: {", fmt.Sprintf("spool: {seal: %t, key: '${file:spool.key}', ", random.IntN(2) == 0), 1)
}

// cutPower starts the host, cuts its power, and says whether it was not ready by then. What it finds is what the disk has left.
func (c *clinic) cutPower(power *supply, random *rand.Rand, mode string) (starting bool) {
	c.t.Helper()
	if starting = random.IntN(3) == 0; starting {
		c.launch()
	} else {
		c.start()
	}
	time.Sleep(time.Duration(random.Int64N(int64(longestRun)))) // the instant of the cut is what is random
	power.do("cut %d %s %d", random.Uint64(), mode, random.IntN(2)*(1+random.IntN(mostSyncs)))
	select {
	case <-c.ready:
		starting = false
	default:
	}
	c.kill()
	power.do("mount")
	return starting
}
