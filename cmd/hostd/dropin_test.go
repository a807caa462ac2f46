package main_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inbox gives the clinic a plugin folder of its own, with generator, file and these of testdata.
func (c *clinic) inbox(testdata ...string) {
	c.t.Helper()
	if err := os.MkdirAll(c.path("in"), 0o700); err != nil {
		c.t.Fatal(err)
	}
	alsoIn(c.t, c.path("in"), "generator", "file")
	var packages []string
	for _, name := range testdata {
		packages = append(packages, "./testdata/plugins/"+name)
	}
	if len(packages) > 0 {
		builtInto(c.t, c.path("in"), packages...)
	}
	text := c.read("hostd.yaml")
	c.write("hostd.yaml", strings.Replace(text, fmt.Sprintf("{dir: '%s'}", programs(c.t)), "{dir: in}", 1))
}

// ticking builds the device of testdata that comes without configuration, as this version and behaviour, into the folder.
func (c *clinic) ticking(dir, version, behaviour string) {
	c.t.Helper()
	builtInto(c.t, c.path(dir), "-ldflags", "-X main.version="+version+" -X main.behaviour="+behaviour, "./testdata/plugins/ticking")
}

// drop moves a plugin into the plugin folder, as a copy that another program has finished.
func (c *clinic) drop(dir, name string) {
	c.t.Helper()
	if err := os.Rename(c.path(dir+"/"+exe(name)), c.path("in/"+exe(name))); err != nil {
		c.t.Fatal(err)
	}
}

type listed struct {
	Name, State, Error, SHA256, Previous string
	Manifest                             struct{ Version string }
	UsedBy                               []string `json:"used_by"`
}

// listed is a plugin as the running host has it.
func (c *clinic) listed(name string) (p listed) {
	c.t.Helper()
	var list []listed
	if err := json.Unmarshal([]byte(c.must("plugins", "list", "--json")), &list); err != nil {
		c.t.Fatal(err)
	}
	at := slices.IndexFunc(list, func(p listed) bool { return p.Name == name })
	if at < 0 {
		return p
	}
	return list[at]
}

// awaitPlugin waits until the plugin is in that state with that version.
func (c *clinic) awaitPlugin(name, state, version string) {
	c.t.Helper()
	var p listed
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if p = c.listed(name); p.State == state && p.Manifest.Version == version {
			return
		}
	}
	c.t.Fatalf("%s is %+v, want it %s as %s\n%s", name, p, state, version, c.log())
}

const dropped = `
devices:
  - {name: gen, plugin: generator, settings: {rate: 20}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`

// TestDroppedInPluginIsADevice: a binary alone where its manifest allows it, and one with a device block beside it.
func TestDroppedInPluginIsADevice(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dropped)
	c.inbox()
	c.ticking("made", "1.0.0", "")
	c.start()
	began := time.Now()
	c.drop("made", "ticking")
	c.until("a device that nobody configured", func(s status) bool { return device(s, "ticking").Records > 0 })
	t.Logf("from the copy to the first record, 50 ms of its own included: %s", time.Since(began).Round(time.Millisecond))
	c.write("in/folder.yaml", "name: share\nschedule: {every: 200ms}\nsettings: {dir: shared, format: joia, settle: 100ms}\n")
	if err := os.MkdirAll(c.path("shared"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.until("a block without its binary is refused", func(s status) bool {
		return slices.ContainsFunc(s.Alarms, func(a alarm) bool { return a.Code == "config_refused" && strings.Contains(a.Text, "folder.yaml") })
	})
	alsoIn(t, c.path("in"), "folder")
	c.until("it is a device when the binary comes", func(s status) bool { return device(s, "share").State == "up" && len(s.Alarms) == 0 })
	if p := c.listed("folder"); p.State != "runs" || !slices.Equal(p.UsedBy, []string{"share"}) {
		t.Errorf("%+v", p)
	}
	before := c.ups("device", "gen")
	c.stop()
	c.start()
	c.until("both are devices after a restart", func(s status) bool {
		return device(s, "share").State == "up" && device(s, "ticking").State == "up"
	})
	if before != 1 {
		t.Errorf("gen came up %d times", before)
	}
	c.stop()
	c.whole("archive", "ticking", 1)
}

// TestHalfCopiedPluginIsWaitedFor: a file that is copied slowly runs when it is whole. Half of it is not what runs, and on Windows, where who
// copies lets nobody else open it, it is not even a fault.
func TestHalfCopiedPluginIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dropped)
	c.inbox()
	c.ticking("made", "1.0.0", "")
	whole := c.read("made/" + exe("ticking"))
	c.start()
	f, err := createToCopy(c.path("in/" + exe("ticking")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(whole[:len(whole)/2]); err != nil {
		t.Fatal(err)
	}
	c.awaitPlugin("ticking", halfCopied, "")
	if _, err := f.WriteString(whole[len(whole)/2:]); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.until("it is a device when it is whole", func(s status) bool { return device(s, "ticking").Records > 0 && len(s.Alarms) == 0 })
	if n := c.ups("device", "gen"); n != 1 {
		t.Errorf("gen came up %d times", n)
	}
	c.stop()
	c.whole("archive", "ticking", 1)
}

// TestNewerPluginTakesOver: a newer version runs from the border of a record on, one that does not start disturbs nothing, and one that
// crashes again and again gives way to the one before.
func TestNewerPluginTakesOver(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dropped)
	c.inbox()
	c.ticking("in", "1.0.0", "")
	c.start()
	c.until("the first version", func(s status) bool { return device(s, "ticking").Records > 3 })
	c.ticking("made", "1.1.0", "")
	c.drop("made", "ticking")
	c.awaitPlugin("ticking", "runs", "1.1.0")
	c.until("the second version", func(s status) bool {
		d := device(s, "ticking")
		return d.Version == "1.1.0" && d.State == "up"
	})
	c.ticking("made", "1.2.0", "mute")
	c.drop("made", "ticking")
	c.awaitPlugin("ticking", "not_taken", "1.1.0")
	at := device(c.until("a look", func(status) bool { return true }), "ticking").Records
	c.until("the second version goes on", func(s status) bool { return device(s, "ticking").Records > at+3 })
	c.ticking("made", "1.3.0", "crash")
	c.drop("made", "ticking")
	c.awaitPlugin("ticking", "rolled_back", "1.1.0")
	s := c.until("the second version is back", func(s status) bool {
		d := device(s, "ticking")
		return d.Version == "1.1.0" && d.State == "up" && d.Records > at+6
	})
	if !slices.ContainsFunc(s.Alarms, func(a alarm) bool { return a.Code == "plugin_rolled_back" && a.Subject == "ticking" }) {
		t.Errorf("no alarm: %+v", s.Alarms)
	}
	c.ticking("made", "1.4.0", "")
	c.drop("made", "ticking")
	c.awaitPlugin("ticking", "runs", "1.4.0")
	c.until("the newest version", func(s status) bool { return device(s, "ticking").Version == "1.4.0" && len(s.Alarms) == 0 })
	c.stop()
	c.whole("archive", "ticking", 1)
	c.whole("archive", "gen", 1)
}

// TestVanishedAndRemovedPlugin: a file that goes stops nothing, an operator does, and can take it back.
func TestVanishedAndRemovedPlugin(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dropped)
	c.inbox()
	c.ticking("in", "1.0.0", "")
	c.start()
	c.until("it runs", func(s status) bool { return device(s, "ticking").Records > 0 })
	for _, name := range []string{"ticking", "file"} {
		if err := os.Remove(c.path("in/" + exe(name))); err != nil {
			t.Fatal(err)
		}
	}
	at := device(c.until("a look", func(status) bool { return true }), "ticking").Records
	c.until("it goes on", func(s status) bool { return device(s, "ticking").Records > at+5 && sink(s, "archive").State == "up" })
	c.must("plugins", "remove", "file")
	s := c.until("its sink is removed, and what waits is kept", func(s status) bool { k := sink(s, "archive"); return k.State == "removed" && k.Backlog > 0 })
	c.stop()
	c.start()
	c.until("removed after a restart, too", func(s status) bool { return sink(s, "archive").State == "removed" })
	c.must("plugins", "approve", "file")
	c.until("all is delivered", func(n status) bool {
		k := sink(n, "archive")
		return k.State == "up" && k.Delivered > sink(s, "archive").Delivered && k.Backlog < 20
	})
	c.stop()
	c.whole("archive", "ticking", 1)
	audit := c.read("data/audit.ndjson")
	for _, what := range []string{`"plugins.take"`, `"plugins.remove"`, `"plugins.approve"`} {
		if !strings.Contains(audit, what) {
			t.Errorf("not audited: %s", what)
		}
	}
}

// TestPinnedPlugins: only what is in the list runs, until an operator lets it in.
func TestPinnedPlugins(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dropped)
	c.inbox()
	c.write("hostd.yaml", strings.Replace(c.read("hostd.yaml"), "{dir: in}", "{dir: in, trust: pinned, pins: ['"+hashOf(t, c.path("in"), "file")+"']}", 1))
	c.start()
	s := c.until("one is not approved", func(s status) bool { return device(s, "gen").State == "unapproved" && sink(s, "archive").State == "up" })
	sum := hashOf(t, c.path("in"), "generator")
	if !strings.Contains(device(s, "gen").Error, sum) {
		t.Errorf("its hash is not told: %s", device(s, "gen").Error)
	}
	c.must("plugins", "approve", "generator")
	c.until("it runs", func(s status) bool {
		return device(s, "gen").State == "up" && len(s.Alarms) == 0 && sink(s, "archive").Delivered > 0
	})
	if p := c.listed("generator"); p.SHA256 != sum || p.State != "runs" {
		t.Errorf("%+v, want %s", p, sum)
	}
	c.stop()
	c.whole("archive", "gen", 1)
}

func hashOf(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, exe(name)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
