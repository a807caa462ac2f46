package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// ErrUnchecked is the answer of a plugin that is there and could not be asked: its settings are not checked, and it is no
// fault of the configuration.
var ErrUnchecked = errors.New("plugin could not be asked")

// CheckPlugins asks for the manifest of every plugin that a device or sink names, each once, and checks their settings
// against it. Known are the names of the plugins that there are, for hints. It belongs to loading: it must be called
// before the Config is published. The error is Faults.
func (c *Config) CheckPlugins(role func(plugin string) (sdk.Manifest, error), known []string) error {
	p := &pluginChecker{checker: checker{c: c, bad: c.bad}, role: role, known: known, asked: map[string]answer{}}
	for i := range c.Devices {
		p.entry(element("devices", i), c.Devices[i].Plugin, sdk.RoleDevice, c.Devices[i].Settings)
	}
	for i := range c.Sinks {
		p.entry(element("sinks", i), c.Sinks[i].Plugin, sdk.RoleSink, c.Sinks[i].Settings)
	}
	return p.faults.err()
}

type answer struct {
	manifest sdk.Manifest
	err      error
}

type pluginChecker struct {
	checker
	role  func(plugin string) (sdk.Manifest, error)
	known []string
	asked map[string]answer
}

func (p *pluginChecker) ask(plugin string) (sdk.Manifest, error) {
	a, ok := p.asked[plugin]
	if !ok {
		a.manifest, a.err = p.role(plugin)
		p.asked[plugin] = a
	}
	return a.manifest, a.err
}

func (p *pluginChecker) entry(at, plugin string, want sdk.Role, settings map[string]any) {
	key := at + ".plugin"
	if p.bad[at] || p.bad[key] || !pluginName.MatchString(plugin) {
		return // it has a fault already
	}
	m, err := p.ask(plugin)
	switch {
	case errors.Is(err, ErrUnchecked):
	case err != nil:
		text, hint := strings.ReplaceAll(err.Error(), plugin, p.said(key, plugin)), ""
		if !slices.Contains(p.known, plugin) {
			hint = p.meant(key, plugin, p.known)
		}
		p.fault(key, text, hint)
	case m.Role != want:
		p.fault(key, fmt.Sprintf("%s is a %s, not a %s", p.said(key, plugin), m.Role, want), "")
	default:
		p.settings(at+".settings", m.Settings, settings)
	}
}

func (p *pluginChecker) settings(at string, list []sdk.Setting, values map[string]any) {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	for _, f := range sdk.CheckSettings(list, values) {
		hint := ""
		if _, written := values[f.Key]; written && !slices.Contains(names, f.Key) {
			hint = didYouMean(f.Key, names)
		}
		p.fault(join(at, f.Key), strings.TrimSuffix(f.Text, ": "), hint)
	}
	for i := range list {
		if list[i].Secret {
			p.secret(join(at, list[i].Name), values[list[i].Name])
		}
	}
}

// secret holds that a secret setting came by reference, and notes that it is never shown.
func (p *pluginChecker) secret(key string, value any) {
	at, ok := p.c.marks[key]
	if !ok {
		return
	}
	at.secret = true
	p.c.marks[key] = at
	if value != "" && !reference.MatchString(at.raw) && !p.c.AllowPlainSecrets {
		p.fault(key, "is a secret and stands in plain", "write ${env:NAME} or ${file:path} in its place, or allow_plain_secrets: true")
	}
}

// FaultAt is a fault of what is written under the key, such as sinks[0].settings.dir: for one who checks settings beyond
// their description.
func (c *Config) FaultAt(key, text string) Fault {
	at := c.marks.at(key)
	return Fault{File: at.file, Line: at.line, Key: key, Text: text}
}

// Faulty says whether what is written at the key, or in it, could not be read whole.
func (c *Config) Faulty(key string) bool {
	for bad := range c.bad {
		if within(bad, key) {
			return true
		}
	}
	return false
}

func within(key, outer string) bool {
	rest, below := strings.CutPrefix(key, outer)
	return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// At says whether one of the faults is at the key, or in what is written there.
func (f Faults) At(key string) bool {
	return slices.ContainsFunc(f, func(one Fault) bool { return within(one.Key, key) })
}

// SettingsJSON gives the device's settings as one JSON object, references resolved: not for a log.
func (d *Device) SettingsJSON() ([]byte, error) { return settingsJSON(d.Name, d.Settings) }

// SettingsJSON gives the sink's settings as one JSON object, references resolved: not for a log.
func (s *Sink) SettingsJSON() ([]byte, error) { return settingsJSON(s.Name, s.Settings) }

func settingsJSON(name string, settings map[string]any) ([]byte, error) {
	if settings == nil {
		return []byte("{}"), nil
	}
	b, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("encode settings of %s: %w", name, err)
	}
	return b, nil
}
