package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with the configuration, where it is, and what to do about it. No text of it holds
// a value that came through a reference.
type Fault struct {
	File string `json:"file"`           // as it was named; "environment" and "flags" for those
	Line int    `json:"line,omitempty"` // from 1; 0 where there is none
	Key  string `json:"key,omitempty"`  // for example devices[2].plugin
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// String is the fault in one line.
func (f Fault) String() string {
	parts := []string{f.place()}
	for _, p := range []string{f.Key, f.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	text := strings.Join(parts, ": ")
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

func (f Fault) place() string {
	file := cmp.Or(f.File, "configuration")
	if f.Line == 0 {
		return file
	}
	return file + ":" + strconv.Itoa(f.Line)
}

// Faults are all that is wrong with a configuration, in the order of file and line.
type Faults []Fault

// Error has a line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Unread says whether one of the faults is that a whole file cannot be read: what it says is not known then.
func (f Faults) Unread() bool {
	return slices.ContainsFunc(f, func(one Fault) bool { return one.Key == "" })
}

// err sorts the faults; none are nil.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(f)
}

// Join puts the faults of several errors into one list. An error that is no Faults comes back joined as it is.
func Join(list ...error) error {
	var all Faults
	var others []error
	for _, err := range list {
		var f Faults
		if errors.As(err, &f) {
			all = append(all, f...)
		} else if err != nil {
			others = append(others, err)
		}
	}
	if len(others) == 0 {
		return all.err()
	}
	return errors.Join(append(others, all.err())...)
}

// mark is where a key was written, and how.
type mark struct {
	file   string
	line   int
	raw    string // as written, where it has a reference
	secret bool   // a setting that the plugin's manifest calls secret
}

// marks are the places of keys.
type marks map[string]mark

// at is the place of the key, or of the nearest block around it.
func (m marks) at(key string) mark {
	for key != "" {
		if at, ok := m[key]; ok {
			return at
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return m[""]
}

// drop forgets what was written inside a list that is replaced.
func (m marks) drop(list string) {
	for key := range m {
		if strings.HasPrefix(key, list+"[") {
			delete(m, key)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
