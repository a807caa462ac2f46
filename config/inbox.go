package config

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// inbox reads the device blocks that lie beside binaries in the plugin folder, NAME.yaml each, as if they stood at the end of devices. Name
// and plugin are that of the file where it has none. The configuration itself may lie there, too.
func (l *loader) inbox(own []string) {
	dir, _ := l.layers.Get("plugins" + separator + "dir").(string)
	if dir == "" {
		dir = Default().Plugins.Dir
	}
	list, _ := l.layers.Get("devices").([]any)
	files, err := deviceFiles(dir)
	if err != nil {
		l.file = dir
		l.fault(0, "", "cannot be read: "+cause(err).Error(), "")
	}
	for _, file := range files {
		if slices.ContainsFunc(own, func(f string) bool { return sameFile(f, file) }) {
			continue
		}
		data, err := readFile(file, maxFile)
		l.file = file
		if err != nil {
			l.fault(0, "", "cannot be read: "+err.Error(), "")
			continue
		}
		if d := l.device(data, element("devices", len(list)), strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))); d != nil {
			list = append(list, d)
		}
	}
	if len(list) > 0 {
		l.add(map[string]any{"devices": list})
	}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// device reads a file that is one device block; nil where it is not.
func (l *loader) device(data []byte, at, name string) map[string]any {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		line, text, hint := syntax(err)
		l.fault(line, "", "not YAML: "+text, hint)
		return nil
	}
	if len(doc.Content) == 0 {
		doc.Content = []*yaml.Node{{Kind: yaml.MappingNode, Line: 1}} // only comments: all is as the plugin has it
	}
	n := doc.Content[0]
	l.place(at, n.Line)
	v, _ := l.value(n, typeDevice, at, 1)
	d, ok := v.(map[string]any)
	if !ok {
		l.fault(n.Line, at, "must be one device block, as an entry of devices is", "write its keys without a dash before them")
		return nil
	}
	for _, key := range []string{"name", "plugin"} {
		if _, written := d[key]; !written && !l.bad[join(at, key)] {
			d[key] = name
			l.place(join(at, key), n.Line)
		}
	}
	return d
}

// deviceFiles are the files of the plugin folder that may be device blocks, in the order of their names.
func deviceFiles(dir string) ([]string, error) {
	files, err := folderFiles(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // told where plugins are looked for
	}
	return slices.DeleteFunc(files, func(f string) bool {
		return !pluginName.MatchString(strings.TrimSuffix(filepath.Base(f), filepath.Ext(f)))
	}), err
}

// SumInbox stands for what the device blocks in the plugin folder say now, as Sum does for the other files.
func SumInbox(dir string) string {
	h := sha256.New()
	files, err := deviceFiles(dir)
	h.Write(fmt.Appendf(nil, "%t\n", err == nil))
	for _, f := range files {
		data, err := readFile(f, maxFile)
		h.Write(fmt.Appendf(nil, "%q %d %v\n", f, len(data), err))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Enroll adds a device with defaults for each of the plugins, under its own name, where no device uses the plugin and the name is free. Like
// CheckPlugins it belongs to loading.
func (c *Config) Enroll(plugins []string) {
	for _, name := range plugins {
		used := slices.ContainsFunc(c.Devices, func(d Device) bool { return d.Plugin == name || d.Name == name }) ||
			slices.ContainsFunc(c.Sinks, func(s Sink) bool { return s.Plugin == name || s.Name == name })
		if used || len(c.Devices) >= maxDevices || reserved.MatchString(name) || !entryName.MatchString(name) {
			continue
		}
		d := defaultDevice()
		d.Name, d.Plugin = name, name
		c.Devices = append(c.Devices, d)
	}
}

var pin = regexp.MustCompile(`^[0-9a-f]{64}$`)

// trust checks what says which binaries may run.
func (v *checker) trust() {
	p := &v.c.Plugins
	v.filled("plugins.dir", p.Dir)
	v.word("plugins.trust", p.Trust, []string{"folder", "pinned", "signed"})
	for i, sum := range p.Pins {
		if !pin.MatchString(sum) {
			v.fault(element("plugins.pins", i), "is no SHA-256", "write 64 lower-case hex digits, as hostd plugins list and sha256sum print them")
		}
	}
	for i := range p.Keys {
		if _, err := publicKey(p.Keys[i]); err != nil {
			v.fault(element("plugins.keys", i), err.Error(), "write the 32 bytes of an ed25519 public key in base64")
		}
	}
	switch {
	case p.Trust != "signed" && len(p.Keys) > 0:
		v.fault("plugins.keys", "is written, and plugins.trust is not signed", "")
	case p.Trust != "pinned" && len(p.Pins) > 0:
		v.fault("plugins.pins", "is written, and plugins.trust is not pinned", "")
	case p.Trust == "signed" && len(p.Keys) == 0 && !v.bad["plugins.keys"]:
		v.fault("plugins.keys", "is missing beside trust: signed", "name the public keys of who signs")
	}
}

var errNoKey = errors.New("is no public key")

func publicKey(text string) (ed25519.PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errNoKey
	}
	return raw, nil
}

// PublicKeys are Keys as bytes, of a configuration that was checked.
func (p *Plugins) PublicKeys() (keys []ed25519.PublicKey) {
	for _, text := range p.Keys {
		if key, err := publicKey(text); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}
