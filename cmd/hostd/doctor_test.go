package main_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// finding is a line of doctor --json.
type finding struct{ Probe, Subject, Verdict, Text, Do string }

// doctor runs doctor --json and wants the exit code; nothing in the clinic's folder may change.
func (c *clinic) doctor(want int) (list []finding) {
	c.t.Helper()
	before := c.below(".", "*", "*/*", "*/*/*")
	out, errs, code := c.hostd("doctor", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != want || errs != "" {
		c.t.Fatalf("exit %d, want %d, %v\n%s%s", code, want, err, out, errs)
	}
	if after := c.below(".", "*", "*/*", "*/*/*"); !slices.Equal(before, after) {
		c.t.Errorf("doctor has made or deleted files: before %q, after %q", before, after)
	}
	var fields []map[string]any
	if err := json.Unmarshal([]byte(out), &fields); err != nil {
		c.t.Fatal(err)
	}
	for _, f := range fields {
		for _, name := range []string{"probe", "subject", "verdict", "text", "do"} {
			if _, has := f[name]; !has || len(f) != 5 {
				c.t.Fatalf("the fields are %v", f)
			}
		}
	}
	return list
}

// faults are the texts of those of a probe.
func faults(list []finding, probe string) (texts []string) {
	for _, f := range list {
		if f.Probe == probe && f.Verdict == "fault" {
			texts = append(texts, f.Text)
		}
	}
	return texts
}

// TestDoctor: a machine that is well, before the start and beside the host, and then everything wrong at once: each thing is found by
// its own probe, with what to do.
func TestDoctor(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: gen, plugin: generator, settings: {count: 20}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`)
	c.inbox()
	c.doctor(0)
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "archive").Delivered == 20 })
	list := c.doctor(0)
	for _, want := range []finding{{"host", "device gen", "ok", "it is up", ""}, {"host", "sink archive", "ok", "it is up", ""}} {
		if !slices.Contains(list, want) {
			t.Errorf("beside the host: no %+v in %+v", want, list)
		}
	}
	out, errs, code := c.hostd("doctor")
	if got := lines(out, "ok "); code != 0 || errs != "" || len(got) < 12 || !strings.Contains(out, ", faults: 0, ") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	c.stop()

	c.spoil(t)
	list = c.doctor(3)
	for _, want := range []struct{ probe, says string }{
		{"program", "cut off"},
		{"program", "and this computer is"},
		{"port", "in use by another program"},
		{"log", "log file cannot be written"},
		{"database", "is not a database"},
		{"serial_port", "there is no serial port"},
		{"settings", "there is no plugin nowhere"},
		{"configuration", "unknown key"},
		{"plugin", "quitter: licence not found"},
	} {
		if !slices.ContainsFunc(faults(list, want.probe), func(text string) bool { return strings.Contains(text, want.says) }) {
			t.Errorf("%s: no %q in %q", want.probe, want.says, faults(list, want.probe))
		}
	}
	for _, f := range list {
		if f.Verdict == "fault" && f.Do == "" || strings.Contains(f.Text+f.Do+f.Subject, "swordfish") {
			t.Errorf("%+v", f)
		}
	}
	out, _, code = c.hostd("doctor")
	if n := len(lines(out, "do:", "         do:")); code != 3 || n < 9 || len(lines(out, "FAULT ")) < 9 {
		t.Errorf("exit %d\n%s", code, out)
	}

	c.write("hostd.yaml", "clinic: [")
	if list := c.doctor(2); len(list) != 1 || list[0].Probe != "configuration" || !strings.Contains(list[0].Text, "hostd.yaml:1") {
		t.Errorf("no YAML: %+v", list)
	}
}

// spoil breaks what TestDoctor looks for.
func (c *clinic) spoil(t *testing.T) {
	t.Helper()
	serial := "/dev/ttyNobody"
	if runtime.GOOS == "windows" {
		serial = "COM251"
	}
	alsoIn(t, c.path("in"), "recorder", "folder")
	builtInto(t, c.path("in"), "./testdata/plugins/quitter")
	c.write("pin", "swordfish")
	c.write("hostd.yaml", strings.Replace(c.read("hostd.yaml"), "\nsinks:\n", `
  - {name: exits, plugin: quitter}
  - {name: lost, plugin: recorder, settings: {note: opened, port: `+serial+`, pin: "${file:pin}"}}
  - {name: cut, plugin: folder, settings: {dir: in}}
sinks:
  - {name: odd, plugin: nowhere}
`, 1)+"colour: red\n")
	whole := c.read("in/" + exe("generator"))
	c.write("in/"+exe("folder"), whole[:len(whole)/2])
	c.write("in/"+exe("generator"), otherMachine(t, whole))
	c.write("data/hostd.db", strings.Repeat("noise", 99))
	for _, name := range []string{"data/hostd.db-wal", "data/hostd.db-shm"} {
		if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(c.path("log")); err != nil {
		t.Fatal(err)
	}
	c.write("log", "a file in the place of the folder")
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// otherMachine is the program with the header of one for another processor.
func otherMachine(t *testing.T, program string) string {
	t.Helper()
	b := []byte(program)
	switch {
	case strings.HasPrefix(program, "\x7fELF"):
		b[18], b[19] = 21, 0 // EM_PPC64
	case strings.HasPrefix(program, "MZ"):
		at := int(b[0x3c]) | int(b[0x3d])<<8
		b[at+4], b[at+5] = 0xc4, 0x01 // ARMNT
	default:
		t.Skip("this system's programs have another form")
	}
	return string(b)
}
