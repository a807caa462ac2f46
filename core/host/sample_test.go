package host

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hostd/hostd/core/sdk"
)

func bound(v float64) *float64 { return &v }

// everySetting has each type, and blocks in blocks.
func everySetting() *sdk.Manifest {
	return &sdk.Manifest{
		Name: "slit-lamp", Version: "1.0.0", Role: sdk.RoleDevice, Polled: true, Every: "5s",
		Settings: []sdk.Setting{
			{Name: "host", Type: sdk.TypeString, Required: true, Help: "name or address of the instrument"},
			{Name: "port", Type: sdk.TypeInt, Default: "104", Min: bound(1), Max: bound(65535)},
			{Name: "gain", Type: sdk.TypeFloat, Min: bound(0.5), Unit: "dB", Help: "how loud"},
			{Name: "tls", Type: sdk.TypeBool, Default: "true"},
			{Name: "wait", Type: sdk.TypeDuration, Default: "24h", Min: bound(60), Max: bound(86400)},
			{Name: "mode", Type: sdk.TypeString, Enum: []string{"left", "right"}, Required: true},
			{Name: "names", Type: sdk.TypeList},
			{Name: "login", Type: sdk.TypeString, Secret: true, Default: "x"},
			{Name: "proxy", Type: sdk.TypeBlock, Fields: []sdk.Setting{{Name: "at", Type: sdk.TypeString, Help: "where it is"}}},
			{Name: "tables", Type: sdk.TypeBlocks, Required: true, Fields: []sdk.Setting{
				{Name: "comment", Type: sdk.TypeString, Help: "for people"},
				{Name: "name", Type: sdk.TypeString, Required: true, Help: "of the table"},
				{Name: "columns", Type: sdk.TypeMap, Required: true},
			}},
		},
	}
}

const everySample = `devices:
  - name: slit-lamp-1
    plugin: slit-lamp
    # schedule: {every: 5s}
    settings:
      # name or address of the instrument. Required.
      host: ""
      # 1 to 65535.
      # port: 104
      # how loud. At least 0.5 dB.
      # gain: 0.5
      # tls: true
      # 1m to 24h.
      # wait: 24h
      # Required. One of left, right.
      mode: left
      # names: []
      # A secret: write it as ${file:path} or ${env:NAME}.
      # login: "${file:path}"
      # proxy:
      #   # where it is
      #   # at: ""
      # Required.
      tables:
          # for people
          # comment: ""
          # of the table. Required.
        - name: ""
          # Required.
          columns: {}
`

func TestSample(t *testing.T) {
	if got := Sample(everySetting()); got != everySample {
		t.Errorf("got\n%s", got)
	}
}

// required is the list with every setting required.
func required(list []sdk.Setting) []sdk.Setting {
	list = slices.Clone(list)
	for i := range list {
		list[i].Required, list[i].Fields = true, required(list[i].Fields)
	}
	return list
}

// TestSampleIsTaken reads samples as a configuration, once with all settings live: after the empty texts are filled in, the
// plugin takes it.
func TestSampleIsTaken(t *testing.T) {
	m, all := everySetting(), everySetting()
	all.Settings = required(m.Settings)
	for _, text := range []string{strings.ReplaceAll(Sample(m), `""`, "filled"), strings.ReplaceAll(Sample(all), `""`, "filled")} {
		var c struct {
			Devices []struct {
				Name, Plugin string
				Settings     map[string]any
			}
		}
		if err := yaml.Unmarshal([]byte(text), &c); err != nil || len(c.Devices) != 1 {
			t.Fatalf("%v:\n%s", err, text)
		}
		if faults := sdk.CheckSettings(m.Settings, c.Devices[0].Settings); len(faults) > 0 {
			t.Errorf("%v:\n%s", faults, text)
		}
	}
}

func TestSchema(t *testing.T) {
	text, err := Schema(everySetting())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]struct {
			Type, Pattern    string
			Default          any
			Minimum, Maximum *float64
			Enum             []string
			Items            struct {
				Required []string
			}
		}
		Required             []string
		AdditionalProperties bool
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	p := s.Properties
	switch {
	case s.AdditionalProperties, strings.Join(s.Required, " ") != "host mode tables", len(p) != 10:
		t.Errorf("%+v", s)
	case p["port"].Type != "integer" || p["port"].Default != 104.0 || *p["port"].Minimum != 1 || *p["port"].Maximum != 65535:
		t.Errorf("port %+v", p["port"])
	case p["wait"].Pattern == "" || p["wait"].Default != "24h" || p["tls"].Default != true || p["login"].Default != nil:
		t.Errorf("wait %+v, tls %+v, login %+v", p["wait"], p["tls"], p["login"])
	case len(p["mode"].Enum) != 2 || strings.Join(p["tables"].Items.Required, " ") != "name columns":
		t.Errorf("mode %+v, tables %+v", p["mode"], p["tables"])
	}
}
