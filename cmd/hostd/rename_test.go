package main_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const renameConfig = `
devices:
  - {name: NAME, plugin: generator, settings: {count: COUNT}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`

// upTo are the numbers from first to last.
func upTo(first, last int) (list []int) {
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}

// TestRename: a device goes on under its new name where it was, with what its plugin remembers and what is counted of it, also
// over a host that is stopped before the configuration has the name; what was stored keeps the old one.
func TestRename(t *testing.T) {
	t.Parallel()
	rest := func(name, count string) string {
		return strings.NewReplacer("NAME", name, "COUNT", count).Replace(renameConfig)
	}
	c := newClinic(t, rest("gen", "100"))
	head := strings.TrimSuffix(c.read("hostd.yaml"), rest("gen", "100"))
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "archive").Delivered == 100 })
	c.write("data/state/devices/gen/memory", "kept")

	for args, want := range map[string]string{
		"gen archive":    "name of a sink",
		"gen East":       "lower-case letters",
		"nobody gen-two": "nothing is known",
		"gen gen":        "history of its own",
	} {
		if _, errs, code := c.hostd(append([]string{"devices", "rename"}, strings.Fields(args)...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("rename %s: exit %d, %s", args, code, errs)
		}
	}
	if s := c.status(); device(s, "gen").State != "up" || device(s, "gen").Records != 100 {
		t.Errorf("after renames that were refused: %+v", device(s, "gen"))
	}

	c.must("devices", "rename", "gen", "gen-east")
	if s := c.status(); device(s, "gen").State != "paused" {
		t.Errorf("the old name is %+v", device(s, "gen"))
	}
	c.stop()
	c.start()
	if s := c.status(); device(s, "gen").State != "paused" || device(s, "gen").Records != 0 {
		t.Errorf("the old name is %+v after a restart", device(s, "gen"))
	}
	c.write("hostd.yaml", head+rest("gen-east", "150"))
	c.reloaded("devices added: gen-east", "removed: gen")
	c.until("the rest under the new name", func(s status) bool {
		return device(s, "gen-east").Records == 150 && sink(s, "archive").Delivered == 150
	})
	if _, errs, code := c.hostd("devices", "rename", "gen", "gen-east"); code != 1 || !strings.Contains(errs, "nothing is known") {
		t.Errorf("renamed once more: exit %d, %s", code, errs)
	}
	if out := c.must("find", "--device", "gen-east", "-n", "0"); strings.Count(out, "  gen  ")+strings.Count(out, "  gen-east  ") != 150 {
		t.Errorf("found by the new name:\n%s", out)
	}
	c.stop()
	if was, is := c.numbers("archive", "gen"), c.numbers("archive", "gen-east"); !slices.Equal(was, upTo(1, 100)) || !slices.Equal(is, upTo(101, 150)) {
		t.Errorf("the old name has %v, the new one %v", was, is)
	}
	if c.read("data/state/devices/gen-east/memory") != "kept" || !strings.Contains(c.read("data/audit.ndjson"), `"devices.rename"`) {
		t.Error("what the plugin remembers is gone, or the audit does not know")
	}
	c.tornRename(head + rest("gen-east", "170"))
}

// tornRename ends a host in the middle of a rename, whose group is not on the disk: the next start takes it back.
func (c *clinic) tornRename(config string) {
	c.t.Helper()
	c.write("data/renaming.json", `{"name": "gen-east", "to": "gen-west"}`)
	if err := os.Rename(c.path("data/state/devices/gen-east"), c.path("data/state/devices/gen-west")); err != nil {
		c.t.Fatal(err)
	}
	c.write("hostd.yaml", config)
	c.start()
	c.until("it goes on under the old name", func(s status) bool { return device(s, "gen-east").Records == 170 })
	c.stop()
	if c.read("data/state/devices/gen-east/memory") != "kept" {
		c.t.Error("what the plugin remembers is gone")
	}
	for _, gone := range []string{"data/renaming.json", "data/state/devices/gen-west"} {
		if _, err := os.Stat(c.path(gone)); !os.IsNotExist(err) {
			c.t.Errorf("%s is still there: %v", gone, err)
		}
	}
}
