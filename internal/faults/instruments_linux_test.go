package faults

import (
	"bufio"
	"database/sql"
	"flag"
	"fmt"
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
	ordered          bool   // it sends one exam after the other on one line
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
	{"hl7-mllp", "{listen: ADDR}", "--connect ADDR --timeout 2s", patientID, true},
	{"astm", "{port: 'listen://ADDR'}", "--connect ADDR --timeout 2s --busy 200ms", patientID, true},
}

// played is an instrument that plays.
type played struct {
	instrument
	cmd *exec.Cmd

	mu       sync.Mutex
	answered []string // guarded by mu
	said     []string // guarded by mu: the other lines
}

// TestInstruments kills the host and the plugins at random instants while an instrument of each kind sends its exams and repeats
// what was not answered. In the end each exam for which an instrument was answered is in the database, once, and in the order of
// the answers where there is one line; and no other exam is.
func TestInstruments(t *testing.T) {
	random := seeded(t)
	t.Parallel()
	c := newClinic(t)
	list := c.instruments()
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
	c.until("everything delivered", func(s *status) bool { // the instruments are off by now, and some devices miss theirs
		return !slices.ContainsFunc(s.Sinks, func(k sinkStatus) bool { return k.State != "up" || k.Backlog > 0 })
	})
	c.stop()
	for _, p := range list {
		p.verdict(c)
	}
	t.Logf("%d kills while %d instruments sent %d exams each", killed, len(list), *exams)
}

// instruments writes the configuration, and gives the instruments that play to it.
func (c *clinic) instruments() (list []*played) {
	c.t.Helper()
	var devices strings.Builder
	for _, i := range instruments {
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
		args = append(args, "--count", fmt.Sprint(*exams), "--every", "50ms", "--seed", "1", "--numbered")
		list = append(list, &played{instrument: i, cmd: exec.Command(filepath.Join(c.bin, i.plugin), args...)})
	}
	c.configure("devices:\n" + devices.String() + "sinks:\n  - {name: emr, plugin: sql}\n")
	return list
}

// begin starts the instrument, and listens to what it says.
func (p *played) begin(c *clinic) {
	c.t.Helper()
	p.cmd.SysProcAttr, p.cmd.Stderr = endsWithUs(), os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.mu.Lock()
			if id, ok := strings.CutPrefix(in.Text(), "answered "); ok {
				p.answered = append(p.answered, id)
			} else {
				p.said = append(p.said, in.Text())
			}
			p.mu.Unlock()
		}
	}()
	c.t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-read
		p.cmd.Wait()
	})
}

// done is true when each instrument was answered for all its exams.
func done(list []*played) bool {
	for _, p := range list {
		p.mu.Lock()
		n := len(p.answered)
		p.mu.Unlock()
		if n < *exams {
			return false
		}
	}
	return true
}

// verdict compares what the instrument was answered with what the database has.
func (p *played) verdict(c *clinic) {
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
	var stored []string
	for rows.Next() {
		var id string
		var times int
		if err := rows.Scan(&id, &times); err != nil {
			c.t.Fatal(err)
		}
		if times != 1 {
			c.t.Errorf("%s: exam %s is there %d times", p.plugin, id, times)
		}
		stored = append(stored, id)
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ordered {
		slices.Sort(stored)
		slices.Sort(p.answered)
	}
	if got, want := strings.Join(stored, " "), strings.Join(p.answered, " "); got != want || len(stored) != *exams {
		c.t.Errorf("%s: the database has %d exams, %d were answered; in the database:\n%s\nanswered:\n%s\nthe instrument said:\n%s",
			p.plugin, len(stored), len(p.answered), got, want, strings.Join(p.said[:min(len(p.said), 50)], "\n"))
	}
}
