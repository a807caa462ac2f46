package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// Limits of what is read.
const (
	maxFile  = 4 << 20 // bytes of a configuration file
	maxFiles = 1000    // in conf.d
)

// Names of sources that are not files.
const (
	fromEnvironment = "environment"
	fromFlags       = "flags"
)

// separator splits koanf's paths; no key can have it by accident, as it could a dot.
const separator = "\x1f"

// Options say where the configuration comes from. A later source wins over an earlier one key by key, and a list
// replaces a list: Files, then Env, then Set. The device blocks of the plugin folder are added to devices.
type Options struct {
	Files []string          // in order; *.yaml and *.yml of a folder conf.d beside the first follow it in the order of their names
	Env   []string          // in the form of os.Environ: HOSTD_WORKERS__SIZE=4 sets workers.size
	Set   map[string]string // flags, by dotted key
}

// loader gathers the layers.
type loader struct {
	reader
	layers *koanf.Koanf
}

// Load reads, merges and validates. The error is Faults, with everything that is wrong at once. The Config that comes with
// them, if one does, is for CheckPlugins alone, so that its faults can be told in the same breath; see Join.
func Load(o Options) (*Config, error) {
	l := newLoader(o.Env)
	for i, f := range o.Files {
		l.load(f)
		if i == 0 {
			l.folder(filepath.Join(filepath.Dir(f), "conf.d"))
		}
	}
	l.environment(o.Env)
	l.flags(o.Set)
	l.inbox(o.Files)
	return l.finish()
}

func newLoader(environ []string) *loader {
	return &loader{
		reader: reader{refs: newResolver(environ), marks: marks{}, bad: map[string]bool{}, faults: &Faults{}},
		layers: koanf.New(separator),
	}
}

func (l *loader) load(file string) {
	l.file = file
	data, err := readFile(file, maxFile)
	if err != nil {
		l.fault(0, "", "cannot be read: "+err.Error(), "")
		return
	}
	l.parse(file, data)
}

func (l *loader) parse(file string, data []byte) {
	l.file = file
	l.add(l.document(data))
}

func (l *loader) add(layer map[string]any) {
	if err := l.layers.Load(confmap.Provider(layer, ""), nil); err != nil {
		l.fault(0, "", "cannot merge: "+err.Error(), "")
	}
}

// folder reads conf.d; that there is none is usual.
func (l *loader) folder(dir string) {
	l.file = dir
	files, err := folderFiles(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case errors.Is(err, errManyFiles):
		l.fault(0, "", err.Error(), "")
	case err != nil:
		l.fault(0, "", "cannot be read: "+cause(err).Error(), "")
	}
	for _, f := range files {
		l.load(f)
	}
}

var errManyFiles = fmt.Errorf("folder has more than %d files", maxFiles)

// folderFiles are the files of conf.d, in the order of their names.
func folderFiles(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > maxFiles {
		return nil, errManyFiles
	}
	for _, e := range entries { // sorted by name
		name := e.Name()
		ext := strings.ToLower(filepath.Ext(name))
		if (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}

// notOurs are variables with our prefix that belong to others: the handshake with plugins, and the build.
var notOurs = []string{"HOSTD_PLUGIN", "HOSTD_REQUIRE", "HOSTD_STEPS"}

const envPrefix = "HOSTD_"

// environment reads HOSTD_ variables. One that a reference names is a value for that, not a key.
func (l *loader) environment(environ []string) {
	l.file = fromEnvironment
	provider := env.Provider(separator, env.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			upper := strings.ToUpper(name) // Windows keeps the case in which a name was set
			if !strings.HasPrefix(upper, envPrefix) || slices.Contains(notOurs, upper) || l.refs.used[name] {
				return "", nil
			}
			parts := strings.Split(strings.ToLower(strings.TrimPrefix(upper, envPrefix)), "__")
			v, ok := l.single(parts, name, text, envName)
			if !ok {
				return "", nil
			}
			return strings.Join(parts, separator), v
		},
	})
	if err := l.layers.Load(provider, nil); err != nil {
		l.fault(0, "", "cannot merge: "+err.Error(), "")
	}
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
}

func (l *loader) flags(set map[string]string) {
	l.file = fromFlags
	for _, key := range slices.Sorted(maps.Keys(set)) {
		parts := strings.Split(key, ".")
		if v, ok := l.single(parts, key, set[key], func(k string) string { return k }); ok {
			l.add(nested(parts, v))
		}
	}
}

// single reads one value that is written as text under a name of its own; show gives a key's name in that source.
func (l *loader) single(parts []string, name, text string, show func(key string) string) (any, bool) {
	t, ok := leaf(parts)
	if !ok {
		var known []string
		for _, k := range leafKeys(typeConfig, "") {
			known = append(known, show(k))
		}
		l.fault(0, name, "unknown key", meant(name, known))
		return nil, false
	}
	key := strings.Join(parts, ".")
	value, referred, err := l.refs.resolve(text)
	if err != nil {
		l.fault(0, name, err.Error(), "")
		return nil, false
	}
	v, w := fromText(t, value)
	if w != nil {
		if referred {
			w.hint = ""
		}
		l.fault(0, name, w.text, w.hint)
		l.bad[key] = true
		return nil, false
	}
	l.place(key, 0)
	if referred {
		l.marks[key] = mark{file: l.file, raw: text}
	}
	return v, true
}

// meant compares in lower case, as didYouMean does, and gives the name back as it is written.
func meant(name string, known []string) string {
	lower := map[string]string{}
	for _, k := range known {
		lower[strings.ToLower(k)] = k
	}
	if best := nearest(name, slices.Collect(maps.Keys(lower))); best != "" {
		return "did you mean " + lower[best] + "?"
	}
	return ""
}

// finish makes the Config of all layers and validates it.
func (l *loader) finish() (*Config, error) {
	c := Default()
	c.marks = l.marks
	conf := koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{TagName: "yaml", Result: c, ErrorUnused: true}, Tag: "yaml"}
	if err := l.layers.UnmarshalWithConf("", c, conf); err != nil {
		l.file = ""
		l.fault(0, "", "cannot decode: "+err.Error(), "")
		return nil, l.faults.err()
	}
	c.fill()
	*l.faults = append(*l.faults, c.check(l.bad)...)
	c.bad = l.bad
	return c, l.faults.err()
}

// fill gives entries of lists their defaults, and max_idle its own.
func (c *Config) fill() {
	unwritten := func(key string) bool { _, ok := c.marks[key]; return !ok }
	if unwritten("database.pool.max_idle") {
		c.Database.Pool.MaxIdle = c.Database.Pool.MaxOpen
	}
	for i := range c.Devices {
		if unwritten(element("devices", i) + ".schedule.timeout") {
			c.Devices[i].Schedule.Timeout = defaultDevice().Schedule.Timeout
		}
	}
	for i := range c.Sinks {
		s, d, at := &c.Sinks[i], defaultSink(), element("sinks", i)
		if unwritten(at + ".batch") {
			s.Batch = d.Batch
		}
		if unwritten(at + ".in_flight") {
			s.InFlight = d.InFlight
		}
		if unwritten(at + ".timeout") {
			s.Timeout = d.Timeout
		}
		if unwritten(at + ".start") {
			s.Start = cmp.Or(s.Start, d.Start)
		}
		if unwritten(at + ".unassigned") {
			s.Unassigned = d.Unassigned
		}
	}
}
