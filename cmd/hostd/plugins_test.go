package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
)

// TestPluginsCommands asks the shipped plugins, and a program that is none. Each sample is a configuration.
func TestPluginsCommands(t *testing.T) {
	t.Parallel()
	c := newClinic(t, "\ndevices: [{name: gen, plugin: generator}]\n")
	for plugin, dir := range map[string]string{"generator": "", "folder": "in", "nidek-serial": "", "line-serial": "", "hl7-mllp": "", "astm": "", "file": "out", "sql": ""} {
		text := strings.ReplaceAll(c.must("plugins", "describe", plugin, "--sample"), `      dir: ""`, "      dir: "+dir)
		file := filepath.Join(t.TempDir(), "sample.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Options{Files: []string{file}}); err != nil {
			t.Errorf("the sample of %s is no configuration: %v\n%s", plugin, err, text)
		}
		if out := c.must("plugins", "describe", plugin); !strings.Contains(out, "version      1.") || !strings.Contains(out, "settings:") {
			t.Errorf("%s:\n%s", plugin, out)
		}
	}
	if out := c.must("plugins", "describe", "file", "--schema"); !json.Valid([]byte(out)) || !strings.Contains(out, `"max_size_mb"`) {
		t.Errorf("schema of file:\n%s", out)
	}
	var list []struct {
		Name, SHA256, Error string
		UsedBy              []string `json:"used_by"`
		Manifest            struct{ Role string }
	}
	if err := json.Unmarshal([]byte(c.must("plugins", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, k := range list {
		found[k.Name] = true
		if k.Name == "generator" && (k.Manifest.Role != "device" || len(k.SHA256) != 64 || strings.Join(k.UsedBy, " ") != "gen" || k.Error != "") {
			t.Errorf("generator: %+v", k)
		}
	}
	if !found["generator"] || !found["sql"] || found["hostd"] || found["hostd-kit"] {
		t.Errorf("list: %+v", list)
	}
	for _, args := range [][]string{{"plugins", "describe", "nobody"}, {"plugins", "describe", "../generator"}} {
		if _, errs, code := c.hostd(args...); code != 3 || !strings.Contains(errs, "nobody") && !strings.Contains(errs, "no name of a plugin") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	if _, errs, code := c.hostd("plugins", "describe", "file", "--sample", "--schema"); code != 2 || !strings.Contains(errs, "ask for one") {
		t.Errorf("both: exit %d, %s", code, errs)
	}
}
