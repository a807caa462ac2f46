package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Change is what differs between two configurations, in names alone: no value of a key is in it.
type Change struct {
	Keys    []string `json:"keys,omitempty"` // single ones, such as workers.size; "routes" is the whole list
	Devices Entries  `json:"devices,omitzero"`
	Sinks   Entries  `json:"sinks,omitzero"`
}

// Entries are the names of a list's entries that differ. A name is an entry's identity: one that is written anew is another entry.
type Entries struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"`
}

// routesKey is the list of routes in Change.Keys: routes have no names.
const routesKey = "routes"

// Compare says how next differs from c. Both were checked. A device or sink is changed, too, where logging.levels names it.
func (c *Config) Compare(next *Config) (d Change) {
	d.Keys = differing(reflect.ValueOf(*c), reflect.ValueOf(*next), "")
	if !reflect.DeepEqual(c.Routes, next.Routes) {
		d.Keys = append(d.Keys, routesKey)
	}
	was, is := c.LogLevels(), next.LogLevels()
	d.Devices = compareEntries(c.Devices, next.Devices, func(e *Device) string { return e.Name }, func(a, b *Device) bool {
		a.LogLevel, b.LogLevel = was["device."+a.Name], is["device."+b.Name]
		return reflect.DeepEqual(a, b)
	})
	d.Sinks = compareEntries(c.Sinks, next.Sinks, func(e *Sink) string { return e.Name }, func(a, b *Sink) bool {
		a.LogLevel, b.LogLevel = was["sink."+a.Name], is["sink."+b.Name]
		a.Start, b.Start = "", "" // it is for a sink that the spool does not know
		return reflect.DeepEqual(a, b)
	})
	return d
}

// differing are the dotted keys of the single values, and maps, that differ.
func differing(a, b reflect.Value, path string) (list []string) {
	for f := range fields(a.Type()) {
		key, x, y := join(path, f.Tag.Get("yaml")), a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)
		switch f.Type.Kind() {
		case reflect.Struct:
			list = append(list, differing(x, y, key)...)
		case reflect.Slice: // devices, sinks and routes are compared by themselves
			if f.Type.Elem().Kind() == reflect.String && !slices.Equal(x.Interface().([]string), y.Interface().([]string)) {
				list = append(list, key)
			}
		case reflect.Map:
			if (x.Len() > 0 || y.Len() > 0) && !reflect.DeepEqual(x.Interface(), y.Interface()) {
				list = append(list, key)
			}
		default:
			if !x.Equal(y) {
				list = append(list, key)
			}
		}
	}
	return list
}

// compareEntries compares two lists by name. same gets copies.
func compareEntries[E any](was, is []E, name func(*E) string, same func(a, b *E) bool) (d Entries) {
	find := func(list []E, e *E) int { return slices.IndexFunc(list, func(o E) bool { return name(&o) == name(e) }) }
	for i := range is {
		at := find(was, &is[i])
		if at < 0 {
			d.Added = append(d.Added, name(&is[i]))
			continue
		}
		a, b := was[at], is[i]
		if !same(&a, &b) {
			d.Changed = append(d.Changed, name(&b))
		}
	}
	for i := range was {
		if find(is, &was[i]) < 0 {
			d.Removed = append(d.Removed, name(&was[i]))
		}
	}
	return d
}

// Empty says that nothing differs.
func (d *Change) Empty() bool { return len(d.words()) == 0 }

// String names what differs.
func (d *Change) String() string { return cmp.Or(strings.Join(d.words(), "; "), "nothing") }

func (d *Change) words() (list []string) {
	if len(d.Keys) > 0 {
		list = append(list, "changed: "+strings.Join(d.Keys, ", "))
	}
	for _, e := range []struct {
		what  string
		names []string
	}{
		{"devices added", d.Devices.Added},
		{"devices removed", d.Devices.Removed},
		{"devices changed", d.Devices.Changed},
		{"sinks added", d.Sinks.Added},
		{"sinks removed", d.Sinks.Removed},
		{"sinks changed", d.Sinks.Changed},
	} {
		if len(e.names) > 0 {
			list = append(list, e.what+": "+strings.Join(e.names, ", "))
		}
	}
	return list
}

// atStart are the keys, or the blocks, that hostd takes up only when it starts: what they are about is open all the time.
var atStart = []string{
	"data_dir", "plugins", "intake", "logging.format", "logging.file", "database.driver", "database.dsn",
	"database.pool.max_lifetime", "database.pool.connect_timeout", "admin.listen", "spool.reserve_mb", "spool.seal", "spool.key",
}

// NeedsRestart says that a running hostd cannot take up a change of the key.
func NeedsRestart(key string) bool {
	return slices.ContainsFunc(atStart, func(k string) bool { return key == k || strings.HasPrefix(key, k+".") })
}

// Restart is a fault for each key of the change that needs a restart, where the key is written in c; or nil. A key that has a fault already has no second one.
func (c *Config) Restart(d Change) error {
	var faults Faults
	for _, key := range d.Keys {
		if NeedsRestart(key) && !c.Faulty(key) {
			faults = append(faults, c.FaultAt(key, "is not what hostd was started with, and cannot be changed while it runs; start it again, or put the old value back"))
		}
	}
	return faults.err()
}

// Sum stands for what the files of Options say now, with those of conf.d. It is another one when a file of them is written, made or
// deleted; files that references name are not looked at.
func Sum(files []string) string {
	h := sha256.New()
	add := func(file string) {
		data, err := readFile(file, maxFile)
		h.Write(fmt.Appendf(nil, "%q %d %v\n", file, len(data), err))
		h.Write(data)
	}
	for i, file := range files {
		add(file)
		if i > 0 {
			continue
		}
		list, err := folderFiles(filepath.Join(filepath.Dir(file), "conf.d"))
		h.Write(fmt.Appendf(nil, "%d %t\n", len(list), err == nil || os.IsNotExist(err)))
		for _, f := range list {
			add(f)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
