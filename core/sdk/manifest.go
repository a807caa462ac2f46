package sdk

// Manifest is how a plugin describes itself. Name and Version are required; serve fills Role and Settings.
type Manifest struct {
	Name       string    `json:"name"`                  // the folder and binary name: lower-case letters, digits, dashes
	Version    string    `json:"version"`               // semantic version
	Role       Role      `json:"role"`                  // device or sink, filled by serve
	Speaks     string    `json:"speaks,omitempty"`      // what protocol or kinds, in words
	Identity   string    `json:"identity,omitempty"`    // device: how a record's ID comes about, in words
	LossWindow string    `json:"loss_window,omitempty"` // device: what can be lost between instrument and host; sink: what a crash between its write and its answer leaves
	Window     int       `json:"window,omitempty"`      // device: open batches; 0 and 1 are one, at most 8
	Polled     bool      `json:"polled,omitempty"`      // device: Read is called when the schedule says so, instead of all the time
	Every      string    `json:"every,omitempty"`       // polled device: the interval where the configuration names none, for example "2s"
	Enroll     bool      `json:"enroll,omitempty"`      // device: may run without configuration
	Checks     bool      `json:"checks,omitempty"`      // sink: it is a Checker, filled by serve
	Wire       bool      `json:"-"`                     // device: it reads a byte stream, which it passes through Env.Wire; serve adds the settings capture and capture_max_mb
	Settings   []Setting `json:"settings,omitempty"`    // filled by serve from the plugin's struct, see Describe
}

// Role says which of the two contracts a plugin fulfils.
type Role string

// Roles of a plugin.
const (
	RoleDevice Role = "device"
	RoleSink   Role = "sink"
)
