package config_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/sdk"
)

var manifests = map[string]sdk.Manifest{
	"folder": {Role: sdk.RoleDevice, Settings: []sdk.Setting{
		{Name: "dir", Type: sdk.TypeString, Required: true, Help: "folder that is watched"},
		{Name: "format", Type: sdk.TypeString, Enum: []string{"joia", "nidek"}},
		{Name: "settle", Type: sdk.TypeDuration},
		{Name: "token", Type: sdk.TypeString, Secret: true},
		{Name: "pin", Type: sdk.TypeString, Secret: true},
	}},
	"file": {Role: sdk.RoleSink, Settings: []sdk.Setting{{Name: "dir", Type: sdk.TypeString}}},
}

func load(t *testing.T, text string, env ...string) *config.Config {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "hostd.yaml", text)
	c, err := config.Load(config.Options{Files: []string{"hostd.yaml"}, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheckPlugins(t *testing.T) {
	c := load(t, `devices:
  - name: a
    plugin: foldr
  - name: b
    plugin: folder
    settings:
      dri: x
      format: jiao
      settle: 5
  - {name: c, plugin: file}
  - name: d
    plugin: folder
    settings:
      dir: x
      pin: "1234"
      token: ${env:TOKEN}
  - {name: e, plugin: broken}
  - {name: f, plugin: "${env:TOKEN}"}
sinks:
  - {name: g, plugin: folder, settings: {anything: 1}}
  - name: h
    plugin: file
`, "TOKEN="+hidden)
	asked := map[string]int{}
	err := c.CheckPlugins(func(plugin string) (sdk.Manifest, error) {
		asked[plugin]++
		m, ok := manifests[plugin]
		if !ok {
			return m, errors.New("no plugin " + plugin)
		}
		return m, nil
	}, []string{"folder", "file", "broken"})
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("CheckPlugins = %v, want Faults", err)
	}
	want := `hostd.yaml:3: devices[0].plugin: no plugin foldr; did you mean folder?
hostd.yaml:6: devices[1].settings.dir: is required: folder that is watched
hostd.yaml:7: devices[1].settings.dri: unknown setting; did you mean dir?
hostd.yaml:8: devices[1].settings.format: must be one of joia, nidek
hostd.yaml:9: devices[1].settings.settle: must be a time with its unit: write for example "5s"
hostd.yaml:10: devices[2].plugin: file is a sink, not a device
hostd.yaml:15: devices[3].settings.pin: is a secret and stands in plain; write ${env:NAME} or ${file:path} in its place, or allow_plain_secrets: true
hostd.yaml:17: devices[4].plugin: no plugin broken
hostd.yaml:18: devices[5].plugin: no plugin ${env:TOKEN}
hostd.yaml:20: sinks[0].plugin: folder is a device, not a sink`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	for plugin, n := range asked {
		if n != 1 {
			t.Errorf("%s was asked %d times", plugin, n)
		}
	}
	if strings.Contains(c.Redacted(), "1234") {
		t.Error("a setting that the manifest calls secret is shown")
	}
}

func TestCheckPluginsWithoutFaults(t *testing.T) {
	c := load(t, "devices: [{name: a, plugin: folder, settings: {dir: x, settle: 1s}}]\nsinks: [{name: b, plugin: file}]\n")
	role := func(plugin string) (sdk.Manifest, error) { return manifests[plugin], nil }
	if err := c.CheckPlugins(role, nil); err != nil {
		t.Fatal(err)
	}
}

func TestSettingsJSON(t *testing.T) {
	c := load(t, `devices:
  - {name: a, plugin: folder, settings: {dir: 'D:\out', n: 5, f: 0.5, ok: true, list: [a, 1], map: {k: {v: "${env:WORD}"}}, big: 9007199254740993}}
sinks:
  - {name: b, plugin: file}
`, "WORD="+hidden)
	got, err := c.Devices[0].SettingsJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"big":9007199254740993,"dir":"D:\\out","f":0.5,"list":["a",1],"map":{"k":{"v":"` + hidden + `"}},"n":5,"ok":true}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := c.Sinks[0].SettingsJSON(); err != nil || string(got) != "{}" {
		t.Errorf("without settings: %s, %v", got, err)
	}
	bad := config.Sink{Name: "b", Settings: map[string]any{"f": func() {}}}
	var unsupported *json.UnsupportedTypeError
	if _, err := bad.SettingsJSON(); !errors.As(err, &unsupported) {
		t.Errorf("a function as a setting: %v", err)
	}
}
