package incident

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var markedCount = flag.Int("marked", 200, "records in TestNoPatientAnywhere")

// marks are what the device marked writes in place of a patient's data: name, id, birth date, findings, labels, raw bytes,
// names of files.
var marks = regexp.MustCompile(`QQ[A-Z]+[0-9]*ZZ|1899-?12-?31`)

const marksConfig = `
logging: {level: debug, levels: {device: info, sink: info}, file: {path: log/hostd.log}}
database: {pool: {max_open: 4, operation_timeout: 2s, slow_query: 1ms, query_log: true, monitor: {interval: 1s, warn_at: 1%%}}}
devices:
  - {name: ark, plugin: marked, settings: {count: %d}}
  - {name: f-panic, plugin: marked, settings: {count: 20, fault: panic}}
  - {name: f-refused, plugin: marked, settings: {count: 20, fault: refused}}
  - {name: share, plugin: folder, schedule: {every: 200ms}, settings: {dir: in, format: joia, settle: 100ms}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
  - {name: q-store, plugin: quoting, batch: 100, settings: {fault: store}}
  - {name: q-refused, plugin: quoting, settings: {fault: refused}}
  - {name: q-busy, plugin: quoting, settings: {fault: busy}}
  - {name: q-unavailable, plugin: quoting, settings: {fault: unavailable}}
  - {name: q-plain, plugin: quoting, settings: {fault: plain}}
  - {name: q-panic, plugin: quoting, settings: {fault: panic}}
  - {name: q-permanent, plugin: quoting, settings: {fault: permanent}}
routes:
  - {from: "f-*", to: [q-permanent, emr]}
  - {to: [emr, archive, q-store, q-refused, q-busy, q-unavailable, q-plain, q-panic]}
`

// witness looks for marks where none may be.
type witness struct {
	*clinic
	found map[string][]string // by place, lines with a mark in them
}

func (w *witness) look(place, text string) {
	for l := range strings.Lines(text) {
		if marks.MatchString(l) {
			w.found[place] = append(w.found[place], around.FindString(l))
		}
	}
}

// around is the first mark of a line with what is beside it.
var around = regexp.MustCompile(`.{0,300}(QQ[A-Z]+[0-9]*ZZ|1899-?12-?31).{0,100}`)

// pages looks at what the running host shows.
func (w *witness) pages() {
	w.t.Helper()
	for _, path := range []string{"/", "/api/v1/status", "/metrics", "/readyz"} {
		_, body, err := w.call("GET", path)
		if err != nil {
			w.t.Fatal(err)
		}
		w.look(path, body)
	}
}

// command runs one and looks at what it prints.
func (w *witness) command(args ...string) string {
	w.t.Helper()
	out, err := w.run(args...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	shown := out
	if args[1] == "show" { // it has the labels, which an author keeps free of patients' data
		shown = regexp.MustCompile(`QQLABEL`).ReplaceAllString(out, "label")
	}
	w.look("hostd "+args[0]+" "+args[1], shown)
	return out
}

// settled says that every record came and was delivered, or is a dead letter.
func (w *witness) settled() bool {
	s, err := w.status()
	if err != nil {
		w.t.Fatal(err)
	}
	w.pages()
	for _, k := range s.Sinks {
		if k.Backlog > 0 {
			return false
		}
	}
	return s.received() >= int64(*markedCount+2*20)
}

// TestNoPatientAnywhere sends records full of marks through every error path, and finds no mark in a log, in the status, in
// the metrics, on the page, in what commands print, or in the notes of the quarantine. What a plugin's author writes there
// himself is left out: lines of its log and its standard error, errors of a device.
func TestNoPatientAnywhere(t *testing.T) {
	if testing.Short() {
		*markedCount = 60
	}
	w := &witness{newClinic(t, fmt.Sprintf(marksConfig, *markedCount)), map[string][]string{}}
	w.exports()
	w.guests()
	w.start()
	w.until("the first records are in, and a batch was refused", func() bool { // f-refused would not send it to the next host
		w.pages()
		s, err := w.status()
		return err == nil && s.received() >= 60 && strings.Contains(w.read("log/hostd.log"), "batch refused")
	})
	if err := w.cmd.Process.Kill(); err != nil { // as a crash does
		t.Fatal(err)
	}
	<-w.ended
	w.start()
	w.until("every record is delivered or a dead letter", w.settled)
	w.faultsWerePlayed()
	w.operate()
	w.until("what was delivered once more is, too", w.settled)
	w.stop()
	w.damage()
	w.start()
	w.command("replay", "--sink", "archive", "-c", "hostd.yaml")
	w.until("the damage is found", func() bool {
		w.pages()
		return strings.Contains(w.read("log/hostd.log"), "damaged") || strings.Contains(w.read("log/hostd.log"), "quarantine")
	})
	w.stop()
	w.files()
	for place, lines := range w.found {
		slices.Sort(lines)
		lines = slices.CompactFunc(lines, func(a, b string) bool { return plain(a) == plain(b) })
		t.Errorf("%d lines of %s have a patient's data, such as\n%s", len(lines), place, strings.Join(lines[:min(len(lines), 10)], "\n"))
	}
}

// plain is a line without its numbers.
func plain(line string) string { return regexp.MustCompile(`[0-9]+`).ReplaceAllString(line, "0") }

// exports are files whose names are a patient's: one that is read, one that cannot be decoded, and no file at all.
func (w *witness) exports() {
	w.write("in/QQFILE1ZZ_18991231.xml", `<?xml version="1.0"?><Ophthalmology><Common><Company>T</Company><ModelName>K</ModelName><Date>2026-01-02</Date><Time>10:02:15</Time>
<Patient><No.>1</No.><ID>QQID1ZZ</ID><FirstName>QQGIVEN1ZZ</FirstName></Patient></Common><Measure type="REF"><REF><R><Median><Sphere>QQTEXT1ZZ</Sphere></Median></R></REF></Measure></Ophthalmology>`)
	w.write("in/QQFILE2ZZ.xml", `<Ophthalmology><QQRAW2ZZ attr="QQTEXT2ZZ"></QQNAME2ZZ>`)
	w.write("in/QQFILE3ZZ.xml/QQFILE4ZZ.xml", "")
	_ = os.Symlink(w.path("in/QQFILE5ZZ"), w.path("in/QQFILE6ZZ.xml")) // where the system lets us
}

// guests is a clinic's own table that refuses much.
func (w *witness) guests() {
	w.t.Helper()
	w.write("data/.keep", "")
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(w.path("data/hostd.db"))+"?_pragma=journal_mode(wal)")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(w.t.Context(), `CREATE TABLE guest (id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL CHECK (length(name) < 100), born TEXT NOT NULL, age INTEGER) STRICT`); err != nil {
		w.t.Fatal(err)
	}
}

// faultsWerePlayed holds that the test has met what it is about.
func (w *witness) faultsWerePlayed() {
	w.t.Helper()
	for _, name := range []string{"devices/f-panic", "devices/f-refused", "sinks/q-panic"} {
		w.until(name+" has played its fault", func() bool { _, err := os.Stat(w.path("data/state/" + name + "/played")); return err == nil })
	}
	for _, words := range []string{"delivery failed", "dead letter", "batch refused", "class=unavailable", "database operation", "bytes are not shown"} {
		w.until("the log has "+words, func() bool { return strings.Contains(w.read("log/hostd.log"), words) })
	}
	for _, words := range []string{"class=busy", "slow database operation", "pool usage high"} { // these need a moment in which much comes together
		if !strings.Contains(w.read("log/hostd.log"), words) {
			w.t.Logf("not met this time: %s", words)
		}
	}
}

// operate does with the dead letters what operators do.
func (w *witness) operate() {
	w.t.Helper()
	conf := []string{"-c", "hostd.yaml"}
	ask := func(args ...string) string { return w.command(append(args, conf...)...) }
	list := ask("dead", "list")
	if !strings.Contains(list, "q-store") || !strings.Contains(list, "identity conflict") {
		w.t.Fatalf("dead letters of the store or of a conflict are missing:\n%.2000s", list)
	}
	ask("dead", "list", "--rejects")
	ask("dead", "list", "--json")
	ask("dead", "show", strings.Fields(strings.Split(list, "\n")[1])[0])
	ask("dead", "requeue", "--all", "--sink", "emr")
	ask("dead", "drop", "--all", "--sink", "q-permanent", "--why", "synthetic")
	if found := ask("find", "--patient", "QQID000010ZZ"); !strings.Contains(found, "m-10") {
		w.t.Errorf("find by patient: %s", found)
	}
	ask("find", "--device", "ark", "-n", "100")
	ask("status", "--json")
	ask("spool", "verify")
}

// damage changes a byte in the middle of the spool's largest file.
func (w *witness) damage() {
	w.t.Helper()
	paths, err := filepath.Glob(w.path("data/spool/*.seg"))
	if err != nil || len(paths) == 0 {
		w.t.Fatalf("no file of the spool: %v", err)
	}
	text, err := os.ReadFile(paths[0])
	if err != nil {
		w.t.Fatal(err)
	}
	at := strings.Index(string(text), "QQNAME")
	if at < 0 {
		at = strings.Index(string(text), "QQFAMILY")
	}
	text[at+3] ^= 1
	if err := os.WriteFile(paths[0], text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// files looks at what is on the disk and is no record: logs, what the host printed, the audit, notes of the quarantine.
func (w *witness) files() {
	w.t.Helper()
	seen := 0
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if name == "hostd.out" || strings.HasPrefix(name, "log/") || name == "data/audit.ndjson" || strings.HasPrefix(name, "data/spool/quarantine/") && strings.HasSuffix(name, ".txt") {
			seen++
			w.look(name, w.read(name))
		}
		return nil
	})
	if err != nil || seen < 4 {
		w.t.Fatalf("looked at %d files (%v), want the log, the output, the audit and a note of the quarantine", seen, err)
	}
}
