package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inboxOf makes a plugin folder with these files, and gives a configuration that names it.
func inboxOf(t *testing.T, files map[string]string, main string) string {
	t.Helper()
	dir := t.TempDir()
	files["main.yaml"] = "plugins: {dir: '" + dir + "/in'}\n" + main
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "main.yaml")
}

func TestDeviceBlocksOfThePluginFolder(t *testing.T) {
	main := inboxOf(t, map[string]string{
		"in/folder.yaml":   "# a share\nname: share\nsettings: {dir: in}\nexpect: {every: 90m}\n",
		"in/nidek.yml":     "# all as the plugin has it\n",
		"in/Read Me.yaml":  "not: ours\n",
		"in/.folder.yaml":  "not: ours\n",
		"in/generator.txt": "not: ours\n",
	}, "devices: [{name: first, plugin: generator}]\n")
	c, err := Load(Options{Files: []string{main}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range c.Devices {
		got = append(got, d.Name+" "+d.Plugin)
	}
	if s := strings.Join(got, ", "); s != "first generator, share folder, nidek nidek" {
		t.Errorf("devices: %s", s)
	}
	if d := c.Devices[1]; d.Settings["dir"] != "in" || d.Expect.Every.Minutes() != 90 || d.Schedule.Timeout != defaultDevice().Schedule.Timeout {
		t.Errorf("the block is %+v", d)
	}
}

func TestConfigurationInThePluginFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "clinic.yaml")
	if err := os.WriteFile(file, []byte("clinic: one\nplugins: {dir: '"+dir+"'}\ndevices: [{name: first, plugin: generator}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(Options{Files: []string{file}}); err != nil || len(c.Devices) != 1 {
		t.Errorf("%v", err)
	}
}

func TestFaultsOfDeviceBlocks(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":    {"name: share\nsetings: {}\n", "folder.yaml:2: devices[1].setings: unknown key; did you mean settings?"},
		"a list":         {"- {name: share}\n", "folder.yaml:1: devices[1]: must be"},
		"taken name":     {"\nname: first\n", "folder.yaml:2: devices[1].name: first is the name of devices[0] already"},
		"no YAML":        {"name: [\n", "not YAML"},
		"an empty name":  {"name:\n", "folder.yaml:1: devices[1].name: is empty"},
		"a bad interval": {"schedule: {every: 1ms}\n", "folder.yaml:1: devices[1].schedule.every: must be 10ms"},
	} {
		t.Run(name, func(t *testing.T) {
			main := inboxOf(t, map[string]string{"in/folder.yaml": c.text}, "devices: [{name: first, plugin: generator}]\n")
			_, err := Load(Options{Files: []string{main}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSumInboxSeesWhatChanges(t *testing.T) {
	main := inboxOf(t, map[string]string{"in/folder.yaml": "name: share\n"}, "")
	dir := filepath.Join(filepath.Dir(main), "in")
	seen := map[string]bool{SumInbox(dir): true}
	for _, change := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "folder.yaml"), []byte("name: other\n"), 0o600) },
		func() error { return os.WriteFile(filepath.Join(dir, "nidek.yaml"), nil, 0o600) },
		func() error { return os.Remove(filepath.Join(dir, "folder.yaml")) },
		func() error { return os.RemoveAll(dir) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		sum := SumInbox(dir)
		if seen[sum] && len(seen) != 4 { // an empty folder and none are the same
			t.Errorf("change %d is not seen", len(seen))
		}
		seen[sum] = true
	}
}

func TestEnroll(t *testing.T) {
	c := Default()
	c.Devices = []Device{{Name: "share", Plugin: "folder"}, {Name: "lab", Plugin: "hl7-mllp"}}
	c.Sinks = []Sink{{Name: "emr", Plugin: "sql"}}
	c.Enroll([]string{"folder", "lab", "emr", "sql", "nidek-serial", "con"})
	if n := len(c.Devices); n != 3 || c.Devices[2].Name != "nidek-serial" || c.Devices[2].Plugin != "nidek-serial" || c.Devices[2].Schedule.Timeout == 0 {
		t.Errorf("devices %+v", c.Devices)
	}
}

func TestTrustIsChecked(t *testing.T) {
	key := "plugins.keys"
	for text, want := range map[string]string{
		"{trust: pinned, pins: ['" + strings.Repeat("0a", 32) + "']}": "",
		"{trust: pinned, pins: ['" + strings.Repeat("0A", 32) + "']}": "is no SHA-256",
		"{trust: signed}":                                             key + ": is missing",
		"{trust: signed, keys: [AAAA]}":                               key + "[0]: is no public key",
		"{trust: folder, keys: [AAAA]}":                               "is written, and plugins.trust is not signed",
		"{trust: folder, pins: [AAAA]}":                               "is written, and plugins.trust is not pinned",
		"{trust: everything}":                                         "must be folder or pinned or signed",
		"{trust: signed, keys: ['" + strings.Repeat("A", 43) + "=']}": "",
	} {
		file := filepath.Join(t.TempDir(), "main.yaml")
		if err := os.WriteFile(file, []byte("plugins: "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Options{Files: []string{file}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
