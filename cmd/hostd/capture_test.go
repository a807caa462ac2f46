package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/capture"
)

// marks are what may not leave the machine: of an invented patient.
var marks = []string{"Muster", "Anna", "4711"}

// free is an address of this machine that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestCapture goes the way of an engineer: capture on, the instrument speaks, its capture leaves the clinic masked, and is
// played to the host once more, which gives the same records.
func TestCapture(t *testing.T) {
	t.Parallel()
	addr := free(t)
	c := newClinic(t, fmt.Sprintf(`
devices:
  - {name: line, plugin: teller, settings: {listen: %q, capture: true, capture_max_mb: 1}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`, addr))
	c.start()
	if out := c.must("simulate", "-c", "hostd.yaml", "teller", addr, "4711 Muster^Anna R 15", "4711 Muster^Anna L 16"); out != "stored\nstored\n" {
		t.Errorf("the instrument says %q", out)
	}
	c.until("both are delivered", func(s status) bool { return sink(s, "archive").Delivered == 2 })
	first := c.ids()

	if out := c.must("capture", "list", "line"); !strings.Contains(out, "line    1           port") || strings.Count(out, "\n") != 2 {
		t.Errorf("list:\n%s", out)
	}
	shown := c.must("capture", "show", "line", "--connection", "1")
	for _, want := range []string{`"\x02`, `9999`, `out    "\x06"`} {
		if !strings.Contains(shown, want) {
			t.Errorf("show has no %s:\n%s", want, shown)
		}
	}
	c.must("capture", "export", "line", "--to", "masked.capture")
	masked, raw := c.exported("masked.capture"), ""
	for _, mark := range marks {
		if strings.Contains(shown+masked, mark) {
			t.Errorf("%s is in what was shown or exported:\n%s%s", mark, shown, masked)
		}
	}
	if strings.Contains(c.audited(), "capture") {
		t.Error("a masked capture is in the audit")
	}
	_, errs, code := c.hostd("capture", "export", "line", "--raw", "--to", "raw.capture")
	if raw = c.exported("raw.capture"); code != 0 || !strings.Contains(errs, "patients' data") || len(raw) != len(masked) || !strings.Contains(raw, "4711 Muster^Anna R 15") {
		t.Errorf("export --raw: exit %d, %s\n%q", code, errs, raw)
	}
	if !strings.Contains(c.audited(), `"what":"capture.export"`) {
		t.Errorf("the audit does not say that somebody looked:\n%s", c.audited())
	}
	for _, again := range []string{"raw.capture", "data/state/devices/line/capture"} {
		if _, _, code := c.hostd("capture", "export", "line", "--to", again); code != 3 {
			t.Errorf("export over %s: exit %d", again, code)
		}
	}

	if out := c.must("capture", "replay", "raw.capture", "--exact", "--to", "tcp:"+addr); out != "1 connections were played\n" {
		t.Errorf("replay says %q", out)
	}
	c.until("they came once more", func(s status) bool { return device(s, "line").Records == 4 })
	if second := c.ids(); len(first) != 2 || !slices.Equal(first, second) {
		t.Errorf("ids %v, and after the replay %v", first, second)
	}
	c.stop()
	if text := c.log(); !strings.Contains(text, "capture is on") {
		t.Errorf("the log does not say that it captures:\n%s", text)
	}
}

// exported is what was said in a capture, and holds its rights.
func (c *clinic) exported(name string) (said string) {
	c.t.Helper()
	if info, err := os.Stat(c.path(name)); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		c.t.Errorf("%s: %v, %v", name, info.Mode(), err)
	}
	l, err := capture.Load(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range l.Events {
		said += string(e.Data)
	}
	return said
}

func (c *clinic) audited() string {
	b, err := os.ReadFile(filepath.Join(c.dir, "data", "audit.ndjson"))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	return string(b)
}

// ids are those of all records, sorted, each once.
func (c *clinic) ids() (list []string) {
	c.t.Helper()
	var found []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(c.must("find", "--json", "-n", "0")), &found); err != nil {
		c.t.Fatal(err)
	}
	for _, f := range found {
		list = append(list, f.ID)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// TestCaptureMistakes is of what an operator may get wrong.
func TestCaptureMistakes(t *testing.T) {
	t.Parallel()
	c := newClinic(t, `
devices:
  - {name: line, plugin: teller, settings: {listen: "127.0.0.1:0", capture: maybe, capture_max_mb: 1000}}
  - {name: gen, plugin: generator, settings: {capture: true}}
`)
	_, errs, code := c.hostd("check", "-c", "hostd.yaml")
	for _, want := range []string{"capture: must be true or false", "capture_max_mb: must be 1 to 256", "unknown setting"} {
		if code != 2 || !strings.Contains(errs, want) {
			t.Errorf("check: exit %d, no %q in\n%s", code, want, errs)
		}
	}
	c.write("good.yaml", "clinic: test\ndata_dir: data\n")
	c.write("torn.capture", "hostd cap")
	c.write("empty.capture", "hostd capture 1 0\n")
	for _, m := range []struct {
		code int
		args string
		want string
	}{
		{1, "capture show line -c good.yaml", "set capture: true"},
		{1, "capture show ../line -c good.yaml", "is no name of a device"},
		{2, "capture replay empty.capture --to serial:COM1", "write tcp:HOST:PORT, listen:ADDR or pty"},
		{3, "capture replay torn.capture --to tcp:127.0.0.1:1", "no capture of hostd"},
		{1, "capture replay empty.capture --to tcp:127.0.0.1:1", "no such connection"},
		{2, "capture", "needs one of its commands"},
		{2, "simulate", "needs the name of a plugin"},
		{3, "simulate -c good.yaml none", "there is no plugin none"},
		{2, "simulate -c good.yaml recorder", "recorder has no simulated instrument"},
		{2, "simulate -c good.yaml sql", "the host's database"},
		{0, "simulate -c good.yaml folder --help", "-misbehave"},
		{2, "simulate -c good.yaml folder --count x", "invalid value"},
	} {
		out, errs, code := c.hostd(strings.Fields(m.args)...)
		if code != m.code || !strings.Contains(out+errs, m.want) {
			t.Errorf("hostd %s: exit %d, want %d and %q\n%s%s", m.args, code, m.code, m.want, out, errs)
		}
	}
	if out := c.must("capture", "list", "-c", "good.yaml", "--json"); out != "[]\n" {
		t.Errorf("list: %q", out)
	}
}
