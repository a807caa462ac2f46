package main_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestCheckDoesNotOpen: check, doctor and describe tell of a plugin's settings all that there is to know, with no device opened and no
// secret shown.
func TestCheckDoesNotOpen(t *testing.T) {
	t.Parallel()
	const entry = "\ndevices:\n  - {name: rec, plugin: recorder, settings: {note: opened.txt, gain: 3, wait: 5s, eye: left, pin: \"${file:pin}\"}}\n"
	c := newClinic(t, entry)
	c.write("pin", "swordfish")
	good := c.read("hostd.yaml")
	shown := c.must("check") + c.must("check", "--print") + c.must("plugins", "list")
	c.doctor(0)
	for _, wrong := range []struct{ from, to, says string }{
		{"note: opened.txt, ", "", "hostd.yaml:8: devices[0].settings.note: is required: file that notes each Open"},
		{"gain: 3", "gain: 41", "hostd.yaml:8: devices[0].settings.gain: must be 0.5 to 40 (dB)"},
		{"gain: 3", "gain: loud", "hostd.yaml:8: devices[0].settings.gain: must be a number (dB)"},
		{"wait: 5s", "wait: 11m", "hostd.yaml:8: devices[0].settings.wait: must be 1s to 10m0s"},
		{"eye: left", "eye: third", "hostd.yaml:8: devices[0].settings.eye: must be one of both, left, right"},
		{"gain: 3", "gian: 3", "hostd.yaml:8: devices[0].settings.gian: unknown setting; did you mean gain?"},
		{"${file:pin}", "swordfish", "hostd.yaml:8: devices[0].settings.pin: is a secret and stands in plain"},
	} {
		c.write("hostd.yaml", strings.Replace(good, wrong.from, wrong.to, 1))
		out, errs, code := c.hostd("check")
		if got := lines(errs, "hostd.yaml:"); code != 2 || len(got) != 1 || !strings.HasPrefix(got[0], wrong.says) {
			t.Errorf("%s: exit %d\n%s", wrong.to, code, errs)
		}
		shown += out + errs
		at, text, _ := strings.Cut(strings.TrimPrefix(wrong.says, "hostd.yaml:8: "), ": ")
		text, _, _ = strings.Cut(text, "; ") // the rest is what to do
		if !slices.ContainsFunc(c.doctor(3), func(f finding) bool {
			return f.Probe == "settings" && f.Subject == at && f.Text == "hostd.yaml:8: "+text && f.Do != ""
		}) {
			t.Errorf("%s: doctor does not say %q", wrong.to, text)
		}
	}
	c.write("hostd.yaml", good)

	sample, schema := c.must("plugins", "describe", "recorder", "--sample"), c.must("plugins", "describe", "recorder", "--schema")
	for _, want := range []string{
		"# file that notes each Open. Required.\n      note: \"\"\n", "# how loud it is. 0.5 dB to 40 dB.\n      # gain: 2\n", "# how long it waits. 1s to 10m.\n      # wait: 30s\n",
		"# which eye it looks at. One of both, left, right.\n      # eye: \"both\"\n", "# what opens it. A secret: write it as ${file:path} or ${env:NAME}.\n      # pin: \"${file:path}\"\n",
	} {
		if !strings.Contains(sample, want) {
			t.Errorf("the sample has no\n%sbut\n%s", want, sample)
		}
	}
	var s struct {
		Required   []string
		Properties map[string]struct {
			Description      string
			Default          any
			Enum             []string
			Minimum, Maximum float64
		}
	}
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
		t.Fatal(err)
	}
	if p := s.Properties; !slices.Equal(s.Required, []string{"note"}) || p["gain"].Minimum != 0.5 || p["gain"].Maximum != 40 || p["gain"].Default != 2.0 ||
		!strings.Contains(p["gain"].Description, "dB") || len(p["eye"].Enum) != 3 || p["wait"].Default != "30s" || !strings.Contains(p["pin"].Description, "A secret") {
		t.Errorf("the schema is\n%s", schema)
	}
	if strings.Contains(shown+sample+schema, "swordfish") {
		t.Errorf("the secret is shown:\n%s", shown)
	}
	if got := c.below(".", "opened.txt"); len(got) > 0 {
		t.Error("the device was opened")
	}
	c.start() // what a device leaves that was opened
	c.until("up", func(s status) bool { return device(s, "rec").State == "up" })
	c.stop()
	if got := c.read("opened.txt"); got != "opened with a pin of 9 characters\n" {
		t.Errorf("the device has noted %q", got)
	}
}
