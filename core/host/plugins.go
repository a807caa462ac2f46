package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/sdk"
)

// Plugin is a program of the plugin folder.
type Plugin struct {
	Name     string       `json:"name"`               // of the file
	SHA256   string       `json:"sha256"`             // of the file, in hex; empty where it cannot be read
	Manifest sdk.Manifest `json:"manifest"`           // its own words; empty with an Error
	UsedBy   []string     `json:"used_by"`            // names of devices and sinks of the configuration
	Error    string       `json:"error,omitempty"`    // why it cannot be used
	State    string       `json:"state,omitempty"`    // one of the Plugin constants, where a host runs that says so
	Previous string       `json:"previous,omitempty"` // version that stays for the way back
}

// Plugins asks the running host how its plugins stand. Without one it asks every program in the plugin folder what it is: it starts each of
// them for a moment, and changes nothing. Programs that the configuration names and that are not there are in the list, with an Error.
func Plugins(ctx context.Context, c *config.Config) (list []Plugin, err error) {
	err = ask(ctx, c, opPlugins, struct{}{}, &list)
	if !errors.Is(err, admin.ErrUnreachable) && !errors.Is(err, ErrEnvironment) {
		return list, err
	}
	p, err := newPlaces(c)
	if err != nil {
		return nil, err
	}
	return p.askPlugins(ctx, c, append(p.known(), pluginsOf(c)...))
}

// DescribePlugin asks one of them.
func DescribePlugin(ctx context.Context, c *config.Config, name string) (Plugin, error) {
	p, err := newPlaces(c)
	if err != nil {
		return Plugin{}, err
	}
	list, err := p.askPlugins(ctx, c, []string{name})
	if err != nil {
		return Plugin{}, err
	}
	if len(list) == 0 {
		return Plugin{}, Environment(fmt.Errorf("%q is no name of a plugin: write that of its file, without folder and extension", name))
	}
	if list[0].Error != "" {
		return list[0], Environment(errors.New(list[0].Error))
	}
	return list[0], nil
}

func usesOf(c *config.Config) map[string][]string {
	used := map[string][]string{}
	for i := range c.Devices {
		used[c.Devices[i].Plugin] = append(used[c.Devices[i].Plugin], c.Devices[i].Name)
	}
	for i := range c.Sinks {
		used[c.Sinks[i].Plugin] = append(used[c.Sinks[i].Plugin], c.Sinks[i].Name)
	}
	return used
}

func (p *places) askPlugins(ctx context.Context, c *config.Config, names []string) (list []Plugin, err error) {
	used := usesOf(c)
	d, err := newDescriber(p, c, checkFolder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	d.all(ctx, names)
	for _, name := range d.names {
		f := d.found[name]
		k := Plugin{Name: name, Manifest: f.manifest, UsedBy: slices.Clone(used[name])}
		if f.err != nil {
			k.Error, k.Manifest = f.err.Error(), sdk.Manifest{}
		}
		if f.started {
			if k.SHA256, err = p.hashOf(name); err != nil {
				k.Error = errors.Join(f.err, err).Error()
			}
		}
		list = append(list, k)
	}
	return list, nil
}

// hashOf reads a program's file.
func (p *places) hashOf(name string) (string, error) {
	path, err := p.program(name)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// WritePlugins prints a list for people.
func WritePlugins(w io.Writer, list []Plugin) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(t, "PLUGIN", "VERSION", "BEFORE", "ROLE", "STATE", "SHA256", "USED BY", "REASON")
	for i := range list {
		k := &list[i]
		row(t, k.Name, k.Manifest.Version, k.Previous, string(k.Manifest.Role), k.State, k.SHA256[:min(len(k.SHA256), 12)], strings.Join(k.UsedBy, ", "), k.Error)
	}
	return t.Flush()
}

// WritePlugin prints what a plugin says of itself, and a sample of its settings.
func WritePlugin(w io.Writer, k *Plugin) error {
	_, err := io.WriteString(w, describedText(&k.Manifest))
	return err
}
