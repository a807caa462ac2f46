package sdktest

import (
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Device says how a device plugin is examined.
type Device struct {
	// Package of the plugin's main, relative to the test's folder; empty is the test's own. It is built once.
	Package string
	// Binary is a plugin that was built already; its name counts as the plugin's folder. It wins over Package.
	Binary string
	// Instrument makes a fresh instrument, which ends with the test that it is given.
	Instrument func(t testing.TB) Instrument
	// Wait is how long the plugin may need to bring a record that the instrument has given; 0 is 5 s.
	Wait time.Duration
}

// Instrument is what a device plugin reads from, fresh for each rule.
type Instrument struct {
	// Settings with which the plugin finds it.
	Settings map[string]any
	// Records that it holds from the beginning.
	Records int
	// Produce makes it give n records more. Nil: it gives Records, of which there must be 20 in more than one batch.
	Produce func(n int)
}

// deviceRule is one rule of the contract; check fails t where the plugin breaks it.
type deviceRule struct {
	name  string
	check func(t testing.TB, d *Device)
}

// deviceRules are the rules in the order in which they run.
func deviceRules() []deviceRule {
	return []deviceRule{
		{"manifest is complete", func(t testing.TB, d *Device) { checkManifest(t, d.Binary, sdk.RoleDevice) }},
		{"describes itself without settings", func(t testing.TB, d *Device) { checkDescribe(t, d.Binary) }},
		{"prints only its handshake, and ends with its host", func(t testing.TB, d *Device) { checkHandshake(t, d.Binary) }},
		{"refuses an unknown setting by name", deviceUnknownSetting},
		{"refuses a setting of the wrong type by name", deviceWrongType},
		{"opens, closes and opens again in one process", deviceReopens},
		{"closes after a failed open", deviceFailedOpen},
		{"brings back what was not acknowledged, and only that", deviceBringsBack},
		{"gives a record the same id and content again", deviceSameAgain},
		{"keeps to its window", deviceWindow},
		{"ends Read when it is closed", deviceCloses},
		{"reads again what was refused", deviceRefused},
		{"keeps to the limits of a batch", deviceLimits},
		{"loses nothing when it is killed", deviceKilled},
		{"prints nothing while it works", devicePrints},
		{"ends with its host while it works", deviceEnds},
	}
}

// RunDevice examines a device plugin, one rule in each subtest.
func RunDevice(t *testing.T, d Device) {
	t.Helper()
	d = d.prepared(t)
	for _, r := range deviceRules() {
		t.Run(r.name, func(t *testing.T) { r.check(t, &d) })
	}
}

// prepared fills what was left empty.
func (d Device) prepared(t testing.TB) Device {
	t.Helper()
	if d.Binary == "" {
		d.Binary = Build(t, d.Package)
	}
	if d.Wait == 0 {
		d.Wait = 5 * time.Second
	}
	return d
}
