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
	// Instrument makes a fresh instrument, which ends with the test that it is given. Without one only the rules are held
	// that need none.
	Instrument func(t testing.TB) Instrument
	// Settings besides those of the instrument, and over them.
	Settings map[string]any
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
	// Large makes it give one record more, whose Data or Raw has at least as many bytes. Nil where it cannot.
	Large func(size int)
}

// defaultWait is Device.Wait where it is 0.
const defaultWait = 5 * time.Second

// deviceRules are the rules in the order in which they run.
func deviceRules() []rule[Device] {
	return []rule[Device]{
		{manifestRule, manifestRemedy, func(t testing.TB, d *Device) { checkManifest(t, d.Binary, sdk.RoleDevice) }},
		{describeRule, describeRemedy, func(t testing.TB, d *Device) { checkDescribe(t, d.Binary) }},
		{handshakeRule, handshakeRemedy, func(t testing.TB, d *Device) { checkHandshake(t, d.Binary) }},
		{unknownRule, unknownRemedy, deviceUnknownSetting},
		{wrongRule, wrongRemedy, deviceWrongType},
		{boundsRule, boundsRemedy, deviceBounds},
		{reopenRule, reopenRemedy, deviceReopens},
		{orderRule, orderRemedy, deviceAnyOrder},
		{failedOpenRule, failedOpenRemedy, deviceFailedOpen},
		{
			"brings back what was not acknowledged, and only that",
			"keep in the Position how far the instrument was read, and in Open go on behind it: what is in memory alone is lost, and what Ack has not named must come again",
			deviceBringsBack,
		},
		{
			"brings back what was not acknowledged when its stream is cut",
			"take the end of the stream for no answer: let Open alone, with its Position, say where Read goes on",
			deviceCut,
		},
		{
			"gives a record the same id and content again",
			"make ID out of what the instrument says of the record (its number, its message's id, a hash), never of a clock, a counter of the process or chance; give a Digest where a resend changes bytes",
			deviceSameAgain,
		},
		{
			"keeps to its window",
			"without package serve: send no batch while as many as Manifest.Window are open",
			deviceWindow,
		},
		{"ends Read when it is closed", "let every wait in Read end with its ctx: a select with ctx.Done(), a deadline on the port, or a close of it", deviceCloses},
		{
			"reads again what was refused",
			"in Refuse wind back to before the refused batch; where the instrument cannot, have no Refuse, and the device is opened again",
			deviceRefused,
		},
		{"waits for a slow host", "wait for the host without a limit of your own: it answers, or it closes the device", deviceSlow},
		{"hands over 5 MiB as an attachment", "give Data or Raw whole, and package serve makes the attachment; in another language put it into the staging folder", deviceLarge},
		{"keeps to the limits of a batch", "package serve splits what is too large; in another language see Limits in docs/contract.md", deviceLimits},
		{
			"loses nothing when it is killed",
			"do what lets the instrument forget a record (an ACK byte, a deleted file) in Ack, not in Read, and remember nothing but the Position and what is safe in StateDir",
			deviceKilled,
		},
		{leftRule, leftRemedy, deviceLeft},
		{logsRule, logsRemedy, deviceLogs},
		{printsRule, printsRemedy, devicePrints},
		{endsRule, endsRemedy, deviceEnds},
	}
}

// RunDevice examines a device plugin, one rule in each subtest.
func RunDevice(t *testing.T, d Device) {
	t.Helper()
	if d.Binary == "" {
		d.Binary = Build(t, d.Package)
	}
	if d.Wait == 0 {
		d.Wait = defaultWait
	}
	run(t, deviceRules(), &d)
}
