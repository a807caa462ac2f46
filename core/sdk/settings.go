package sdk

// Setting describes one field of a plugin's settings: what the configuration may say, and what it means.
type Setting struct {
	Name     string      `json:"name"`               // key in YAML, snake_case
	Type     SettingType `json:"type"`               // what the value must be
	Default  string      `json:"default,omitempty"`  // as it would be written in YAML; empty is none
	Unit     string      `json:"unit,omitempty"`     // of a bare number
	Min      *float64    `json:"min,omitempty"`      // smallest number, or shortest duration in seconds
	Max      *float64    `json:"max,omitempty"`      // largest number, or longest duration in seconds
	Enum     []string    `json:"enum,omitempty"`     // the only strings allowed
	Required bool        `json:"required,omitempty"` // must be written
	Secret   bool        `json:"secret,omitempty"`   // must be given by reference and is never shown
	Help     string      `json:"help,omitempty"`     // one sentence
}

// SettingType is the type of a setting's value.
type SettingType string

// Types of settings. A duration is a string with a unit ("5s"); a list is of strings, a map of strings by string.
const (
	TypeString   SettingType = "string"
	TypeInt      SettingType = "int"
	TypeFloat    SettingType = "float"
	TypeBool     SettingType = "bool"
	TypeDuration SettingType = "duration"
	TypeList     SettingType = "list"
	TypeMap      SettingType = "map"
)

// Settings are a plugin's own settings, one JSON object.
type Settings struct{ json []byte }

// NewSettings takes one JSON object; nil is the empty object.
func NewSettings(json []byte) Settings { return Settings{json: json} }

// JSON gives the object back.
func (s Settings) JSON() []byte { return s.json }
