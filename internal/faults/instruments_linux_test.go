package faults

import (
	"bufio"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

var exams = flag.Int("exams", 100, "of TestInstruments: how many exams each instrument sends")

// instrument is a simulated instrument, as the plugin's own binary plays it, and its device. ADDR is a free address, and DIR a
// folder, of its own.
type instrument struct {
	plugin, settings string
	play             string
	number           string // SQL: what an exam's row e has the number K-... in
	ordered          bool   // each of its lines sends one exam after the other
}

// What has an exam's number: the patient's id, or the running number of an instrument that knows no patient.
const (
	patientID  = "e.patient_id"
	examNumber = "(SELECT o.value_text FROM observation o WHERE o.source = e.source AND o.record_id = e.record_id AND o.code = 'exam_no')"
)

// instruments are those of the shipped devices.
var instruments = []instrument{
	{"folder", "{dir: DIR, format: joia, settle: 50ms}", "--dir DIR --format joia", patientID, false},
	{"nidek-serial", "{port: 'tcp://ADDR', profile: ark}", "--listen ADDR --profile ark", patientID, true},
	{"line-serial", "{port: 'tcp://ADDR', profile: clm-7000, ack: <ACK>}", "--listen ADDR --profile clm-7000", examNumber, true},
	{"hl7-mllp", "{listen: ADDR}", "--connect ADDR --timeout 2s --connections 4", patientID, true},
	{"astm", "{port: 'listen://ADDR'}", "--connect ADDR --timeout 2s --busy 200ms", patientID, true},
}

// played is an instrument that plays.
type played struct {
	instrument
	cmd *exec.Cmd

	over chan struct{} // it has said all

	mu       sync.Mutex
	answered []string          // guarded by mu
	line     map[string]string // guarded by mu: which of its lines was answered for an exam; "" where it has one
	said     []string          // guarded by mu: the rest of what it printed
}

// TestInstruments kills the host and the plugins at random instants while an instrument of each kind sends its exams and repeats
// what was not answered. In the end each exam for which an instrument was answered is in the database, once, and in the order of
// the answers on its line; and no other exam is.
func TestInstruments(t *testing.T) {
	random := seeded(t)
	t.Parallel()
	c := newClinic(t)
	list := c.instruments(*exams, instruments)
	c.start()
	for _, p := range list {
		p.begin(c)
	}
	killed := 0
	for !done(list) {
		time.Sleep(200*time.Millisecond + time.Duration(random.Int64N(int64(600*time.Millisecond)))) // the instant is what is random
		if random.IntN(4) == 0 {
			c.kill()
			c.start()
		} else {
			pid := c.plugin(list[random.IntN(len(list))].plugin)
			if pid == 0 {
				continue // it is down from the kill before
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				t.Fatal(err)
			}
		}
		killed++
	}
	c.delivered()
	for _, p := range list {
		if answered, others := p.verdict(c); answered != *exams || others > 0 {
			t.Errorf("%s: %d exams of %d were answered, and %d are in the database besides", p.plugin, answered, *exams, others)
		}
	}
	t.Logf("%d kills while %d instruments sent %d exams each", killed, len(list), *exams)
}

// ofNetwork are the plugins whose instruments call, and get an answer to each exam.
var ofNetwork = []string{"hl7-mllp", "astm"}

// ownPause is what an instrument that calls waits at most by itself: five seconds before HL7 is sent again, and ten between the
// NAK to an analyser's ENQ and the next one that is taken.
const ownPause = 10 * time.Second

// instrumentsMeetFullDisk fills the disk while instruments of the network send: none is answered until there is room, then
// each is by itself. In the end each exam that was answered is in the database, once, and in its order.
func instrumentsMeetFullDisk(t *testing.T) {
	random := seeded(t)
	t.Parallel()
	c := newClinic(t)
	mountSmall(t, "ext4", c.data)
	list := c.instruments(0, slices.DeleteFunc(slices.Clone(instruments), func(i instrument) bool { return !slices.Contains(ofNetwork, i.plugin) }))
	c.start()
	pid, told := c.cmd.Process.Pid, map[string]func() int64{}
	for _, p := range list {
		told[p.plugin] = p.begin(c).count
	}
	more := func(than map[string]int64, n int64) map[string]func() bool {
		is := map[string]func() bool{}
		for name, count := range told {
			is[name] = func() bool { return count() > than[name]+n }
		}
		return is
	}
	before := map[string]int64{}
	for n := range *fills / 2 {
		c.back(t, more(before, 20))
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // the instant of the fault is what is random
		before = c.full(t, told, ofNetwork, func() {})
		took := c.back(t, more(before, 0))
		t.Logf("fill %d: %v exams answered, and again %s after the ballast is gone", n+1, before, took)
		if took > resumeGoal+ownPause {
			t.Errorf("instruments are answered again after %s, the goal is %s", took, resumeGoal+ownPause)
		}
	}
	for _, p := range list {
		p.stop()
	}
	if !c.alive() || c.cmd.Process.Pid != pid {
		t.Error("the host is not the one that met the full disk")
	}
	c.delivered()
	for _, p := range list {
		answered, others := p.verdict(c)
		if lines := len(slices.Compact(slices.Sorted(maps.Values(p.line)))); others > lines {
			t.Errorf("%s: %d exams are in the database that were not answered, and %d lines were cut off", p.plugin, others, lines)
		}
		t.Logf("%s: %d exams answered, none lost", p.plugin, answered)
	}
}

// delivered waits until no sink has a backlog, and stops the host. The instruments are off, and devices that call miss theirs.
func (c *clinic) delivered() {
	c.t.Helper()
	c.until("everything delivered", func(s *status) bool {
		return !slices.ContainsFunc(s.Sinks, func(k sinkStatus) bool { return k.State != "up" || k.Backlog > 0 })
	})
	c.stop()
}

// instruments writes the configuration, and gives instruments that play to it and send count exams each; 0 is no end.
func (c *clinic) instruments(count int, kinds []instrument) (list []*played) {
	c.t.Helper()
	var devices strings.Builder
	for _, i := range kinds {
		addr, err := freeAddr(c.t)
		if err != nil {
			c.t.Fatal(err)
		}
		dir := c.path("of-" + i.plugin)
		if err := os.Mkdir(dir, 0o700); err != nil {
			c.t.Fatal(err)
		}
		filled := strings.NewReplacer("ADDR", addr, "DIR", dir)
		fmt.Fprintf(&devices, "  - {name: %s, plugin: %s, settings: %s}\n", i.plugin, i.plugin, filled.Replace(i.settings))
		args := append([]string{"simulate"}, strings.Fields(filled.Replace(i.play))...)
		args = append(args, "--count", fmt.Sprint(count), "--every", "50ms", "--seed", "1", "--numbered")
		list = append(list, &played{instrument: i, cmd: exec.Command(filepath.Join(c.bin, i.plugin), args...)})
	}
	c.configure("devices:\n" + devices.String() + "sinks:\n  - {name: emr, plugin: sql}\n")
	return list
}

// begin starts the instrument, and listens to what it says.
func (p *played) begin(c *clinic) *played {
	c.t.Helper()
	p.cmd.SysProcAttr, p.cmd.Stderr = endsWithUs(), os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	p.over, p.line = make(chan struct{}), map[string]string{}
	go func() {
		defer close(p.over)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.mu.Lock()
			if id, ok := strings.CutPrefix(in.Text(), "answered "); ok {
				id, line, _ := strings.Cut(id, " on ")
				p.answered, p.line[id] = append(p.answered, id), line
			} else {
				p.said = append(p.said, in.Text())
			}
			p.mu.Unlock()
		}
	}()
	c.t.Cleanup(p.stop)
	return p
}

// stop cuts the instrument off.
func (p *played) stop() {
	p.cmd.Process.Kill()
	<-p.over
	p.cmd.Wait()
}

// count is for how many exams the instrument was answered.
func (p *played) count() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.answered))
}

// done is true when each instrument was answered for all its exams.
func done(list []*played) bool {
	for _, p := range list {
		if p.count() < int64(*exams) {
			return false
		}
	}
	return true
}

// verdict compares what the instrument was answered with what the database has, and gives how many exams that are, and how
// many are there besides.
func (p *played) verdict(c *clinic) (answered, others int) {
	c.t.Helper()
	stored := p.stored(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	is, want := p.lines(stored), p.lines(p.answered)
	for line := range want {
		if got, want := strings.Join(is[line], " "), strings.Join(want[line], " "); got != want {
			c.t.Errorf("%s: the exams of line %q in the database:\n%s\nanswered:\n%s\nthe instrument said:\n%s",
				p.plugin, line, got, want, strings.Join(p.said[:min(len(p.said), 50)], "\n"))
		}
	}
	return len(p.answered), len(is[unanswered])
}

// unanswered is the line of exams that no line was answered for.
const unanswered = "unanswered"

// lines gives the exams of each line, in their order where it counts. The caller holds mu.
func (p *played) lines(ids []string) map[string][]string {
	if !p.ordered {
		ids = slices.Sorted(slices.Values(ids))
	}
	by := map[string][]string{}
	for _, id := range ids {
		line, ok := p.line[id]
		if !ok {
			line = unanswered
		}
		by[line] = append(by[line], id)
	}
	return by
}

// stored are the exams that the database has of the instrument, in the order in which it got them.
func (p *played) stored(c *clinic) (list []string) {
	c.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(c.data, "hostd.db"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(c.t.Context(), `SELECT `+p.number+`, count(*) FROM exam e JOIN record r
		ON r.source = e.source AND r.record_id = e.record_id WHERE e.source = ? GROUP BY 1 ORDER BY min(r.id)`, p.plugin)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var times int
		if err := rows.Scan(&id, &times); err != nil {
			c.t.Fatal(err)
		}
		if times != 1 {
			c.t.Errorf("%s: exam %s is there %d times", p.plugin, id, times)
		}
		list = append(list, id)
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	return list
}
