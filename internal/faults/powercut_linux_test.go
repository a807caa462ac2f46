package faults

import (
	"bufio"
	"flag"
	"fmt"
	"io"
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

// TestPowerCut cuts the power of the disk under data_dir at random instants, again and again: what was not synced is there in
// part, or not at all. Of two cuts one makes directory entries safe with any fsync, the other only with their own directory's.
func TestPowerCut(t *testing.T) {
	if *cuts == 0 {
		t.Skip("only with -cuts")
	}
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	power := supplied(t, c.data)
	c.archive, c.flow = filepath.Join(c.data, "archive"), c.underPower
	modes := []string{"strict", "journal"}
	for n := range *cuts {
		c.configure(c.flow())
		c.drop(o, 2)
		if random.IntN(4) == 0 {
			c.launch()
		} else {
			c.start()
		}
		time.Sleep(time.Duration(random.Int64N(int64(longestRun)))) // the instant of the cut is what is random
		power.do("cut %d %s", random.Uint64(), modes[(n+1)%len(modes)])
		c.kill()
		power.do("mount")
		if (n+1)%lookAfterCuts == 0 && n+1 < *cuts {
			told := c.account(o)
			t.Logf("%d cuts: %d records of the witness, none lost", n+1, told)
		}
	}
	told := c.account(o)
	t.Logf("%d cuts: %d records of the witness, %d of the generator, %d files, none lost", *cuts, told, o.row["gen"].last, len(o.share))
}
