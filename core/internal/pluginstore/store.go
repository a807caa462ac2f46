package pluginstore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/durable"
	"github.com/hostd/hostd/core/sdk"
)

// Options of a Store.
type Options struct {
	Inbox string // the plugin folder
	Dir   string // the store's own, for the host's account alone
	Trust Trust
	// Writers names those besides the owner and the system who may write a file or folder. Where trust is by folder, such a folder or
	// file is refused. Nil refuses none.
	Writers func(path string) ([]string, error)
	Log     *slog.Logger
}

// Version is a binary in the store.
type Version struct {
	SHA256    string       `json:"sha256"` // of its bytes, in hex
	Manifest  sdk.Manifest `json:"manifest"`
	TakenAt   time.Time    `json:"taken_at"`
	Signature string       `json:"signature,omitempty"` // that it had, in base64
}

// Plugin is what the store knows of a name.
type Plugin struct {
	Current  *Version          `json:"current,omitempty"`  // the one that runs; nil: none was taken yet
	Previous *Version          `json:"previous,omitempty"` // the way back
	Refused  map[string]string `json:"refused,omitempty"`  // by sha256: why these bytes, though trusted, are not taken
	Approved []string          `json:"approved,omitempty"` // sha256 that an operator let in
	Removed  bool              `json:"removed,omitempty"`  // by an operator: Current does not run
	Seen     *Look             `json:"seen,omitempty"`     // the file of the plugin folder when its bytes were last read
}

// Look is a file as it was when it was read.
type Look struct {
	Size      int64         `json:"size"`
	Mod       time.Time     `json:"mod"`
	SHA256    string        `json:"sha256"`
	Signature string        `json:"signature,omitempty"` // that lay beside it, in base64
	Untrusted string        `json:"untrusted,omitempty"` // why it may not run
	Idle      *sdk.Manifest `json:"idle,omitempty"`      // what it is, where nobody uses it and it was not copied
}

// Store is open from Open on; it has nothing to close. Its methods may be called beside each other.
type Store struct {
	opt Options

	mu      sync.Mutex
	plugins map[string]*Plugin // guarded by mu
	looks   map[string]fs.FileInfo
	waiting map[string]string // guarded by mu: by name, why its file is not read yet
}

// stateFile is what is kept.
type stateFile struct {
	Plugins map[string]*Plugin `json:"plugins"`
}

const (
	stateName    = "store.json"
	incomingName = "incoming"
)

// Open reads the store, deletes what a crash left half taken, and looks whether each copy that runs is what it was. A copy that is not is set
// aside and taken from the plugin folder again. An error is one of the folder.
func Open(o Options) (*Store, error) {
	s := &Store{opt: o, plugins: map[string]*Plugin{}, looks: map[string]fs.FileInfo{}, waiting: map[string]string{}}
	if s.opt.Log == nil {
		s.opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.RemoveAll(s.path(incomingName)); err != nil {
		return nil, fmt.Errorf("open plugin store: %w", err)
	}
	if err := os.MkdirAll(s.path(incomingName), 0o700); err != nil {
		return nil, fmt.Errorf("open plugin store: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open plugin store: %w", err)
	}
	for name, p := range s.plugins {
		s.verify(name, p)
	}
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.opt.Dir}, parts...)...)
}

// load reads what is kept. What is unreadable is set aside: everything is taken from the plugin folder again.
func (s *Store) load() error {
	b, err := os.ReadFile(s.path(stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f stateFile
	if err := json.Unmarshal(b, &f); err != nil {
		aside := s.path(stateName) + ".damaged"
		s.opt.Log.Error("what is known of plugins is unreadable: it begins anew, approvals have to be given again", "err", err, "kept", aside)
		return os.Rename(s.path(stateName), aside)
	}
	for name, p := range f.Plugins {
		if p != nil && validName(name) {
			s.plugins[name] = p
		}
	}
	return nil
}

// verify looks whether the copy that runs is what it was, and else goes back to the one before.
func (s *Store) verify(name string, p *Plugin) {
	for p.Current != nil && !s.sound(name, p.Current, p.Approved) {
		p.Current, p.Previous, p.Seen = p.Previous, nil, nil
	}
	if p.Seen != nil && p.Seen.Untrusted != "" {
		p.Seen = nil // what is trusted may have changed
	}
}

// sound says whether a copy is trusted and what it was. One that is not is set aside.
func (s *Store) sound(name string, v *Version, approved []string) bool {
	if err := s.opt.Trust.holds(name, v, approved); err != nil {
		s.opt.Log.Error("a plugin is not trusted any more, and is not run", "plugin", name, "sha256", v.SHA256, "err", err)
		return false
	}
	sum, err := hashFile(s.binary(name, v.SHA256))
	if err == nil && sum == v.SHA256 {
		return true
	}
	s.opt.Log.Error("a plugin's copy is not what was checked, and is not run", "plugin", name, "sha256", v.SHA256, "err", err)
	if err == nil {
		err = os.Rename(s.path(v.SHA256), s.path(v.SHA256+".damaged"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.opt.Log.Error("damaged copy not set aside", "plugin", name, "err", err)
	}
	return false
}

// keep writes what is known; s.mu is held.
func (s *Store) keep() error {
	b, err := json.MarshalIndent(stateFile{s.plugins}, "", " ")
	if err == nil {
		err = durable.WriteFile(s.path(stateName), b)
	}
	if err != nil {
		return fmt.Errorf("keep plugin store: %w", err)
	}
	return nil
}

// change changes what is known of a plugin, on the disk too; after an error nothing has changed.
func (s *Store) change(name string, f func(p *Plugin)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.plugins[name]
	next := before.clone()
	f(next)
	s.plugins[name] = next
	if err := s.keep(); err != nil {
		if s.plugins[name] = before; before == nil {
			delete(s.plugins, name)
		}
		return err
	}
	return nil
}

func (p *Plugin) clone() *Plugin {
	if p == nil {
		return &Plugin{}
	}
	c := *p
	c.Refused, c.Approved = maps.Clone(p.Refused), slices.Clone(p.Approved)
	return &c
}

// Known is what the store knows of a name; empty where that is nothing.
func (s *Store) Known(name string) Plugin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.plugins[name].clone()
}

// Names are those of all plugins that the store knows, or that wait to be read, sorted.
func (s *Store) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Collect(maps.Keys(s.plugins))
	for name := range s.waiting {
		if s.plugins[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Waiting says why the file of that name in the plugin folder is not read yet; empty: nothing is waited for.
func (s *Store) Waiting(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[name]
}

// ErrNone is a plugin of which no binary may run.
var ErrNone = errors.New("no such plugin")

// Program is the path of the binary that runs. The error is ErrNone and says why.
func (s *Store) Program(name string) (string, error) {
	p := s.Known(name)
	switch {
	case p.Removed:
		return "", fmt.Errorf("%w: %s was removed; hostd plugins approve %s brings it back", ErrNone, name, name)
	case p.Current != nil:
		return s.binary(name, p.Current.SHA256), nil
	}
	if p.Seen != nil {
		if why := cmp.Or(p.Seen.Untrusted, p.Refused[p.Seen.SHA256]); why != "" {
			return "", fmt.Errorf("%w: %s: %s", ErrNone, name, why)
		}
	}
	if why := s.Waiting(name); why != "" {
		return "", fmt.Errorf("%w: %s: %s", ErrNone, name, why)
	}
	return "", fmt.Errorf("%w: there is no plugin %s in %s", ErrNone, name, s.opt.Inbox)
}

// binary is where a copy lies.
func (s *Store) binary(name, sum string) string { return s.path(sum, name+extension()) }

func extension() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// Accept makes a copy that Take has made the one that runs.
func (s *Store) Accept(name, sum string, m sdk.Manifest) error {
	return s.change(name, func(p *Plugin) {
		delete(p.Refused, sum)
		p.Removed = false
		if p.Current == nil || p.Current.SHA256 != sum {
			v := &Version{SHA256: sum, Manifest: m, TakenAt: time.Now().UTC()}
			if p.Seen != nil && p.Seen.SHA256 == sum {
				v.Signature = p.Seen.Signature
			}
			p.Previous, p.Current = p.Current, v
		}
	})
}

// Refuse notes why these bytes are not taken, until the file changes or an operator approves them.
func (s *Store) Refuse(name, sum, why string) error {
	return s.change(name, func(p *Plugin) { p.refuse(sum, why) })
}

func (p *Plugin) refuse(sum, why string) {
	if p.Refused == nil {
		p.Refused = map[string]string{}
	}
	p.Refused[sum] = why
}

// Idle notes what a binary is that nobody uses; it is not copied.
func (s *Store) Idle(name string, l Look, m sdk.Manifest) error {
	return s.change(name, func(p *Plugin) { p.Seen, l.Idle = &l, &m })
}

// Back makes the version before the one that runs, and refuses those bytes. False: there is none before.
func (s *Store) Back(name, sum, why string) (back Version, done bool, err error) {
	err = s.change(name, func(p *Plugin) {
		if p.Current == nil || p.Previous == nil || p.Current.SHA256 != sum || !s.sound(name, p.Previous, p.Approved) {
			return
		}
		p.refuse(sum, why)
		p.Current, p.Previous = p.Previous, nil
		back, done = *p.Current, true
	})
	return back, done && err == nil, err
}

// Remove keeps a plugin from running, and its bytes from being taken again.
func (s *Store) Remove(name string) error {
	if p := s.Known(name); p.Current == nil && p.Seen == nil {
		return fmt.Errorf("%w: %s", ErrNone, name)
	}
	return s.change(name, func(p *Plugin) { p.Removed = true })
}

// Approve lets the bytes of that sha256 in, whatever they were refused for, and takes back a removal. The file is looked at again.
func (s *Store) Approve(name, sum string) error {
	return s.change(name, func(p *Plugin) {
		delete(p.Refused, sum)
		if p.Removed = false; !slices.Contains(p.Approved, sum) {
			p.Approved = append(p.Approved, sum)
		}
		p.Seen = nil
	})
}

// Sweep deletes the copies that are neither the one that runs nor the one before. One that cannot be deleted, as a running one on
// Windows, stays for the next time.
func (s *Store) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{incomingName: true}
	for _, p := range s.plugins {
		for _, v := range []*Version{p.Current, p.Previous} {
			if v != nil {
				wanted[v.SHA256] = true
			}
		}
	}
	entries, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		s.opt.Log.Warn("plugin store not swept", "err", err)
		return
	}
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == sumSize && !wanted[e.Name()] {
			if err := os.RemoveAll(s.path(e.Name())); err != nil {
				s.opt.Log.Debug("old plugin not deleted", "sha256", e.Name(), "err", err)
			}
		}
	}
}

// Peek gives the names of what a store in that folder has taken, sorted, without opening it: beside the host that has it open.
func Peek(dir string) (names []string) {
	for name, p := range peek(dir) {
		if p.Current != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// PeekProgram is the path of the binary that runs, or would if it were not removed; empty where there is none.
func PeekProgram(dir, name string) string {
	p := peek(dir)[name]
	if p == nil || p.Current == nil {
		return ""
	}
	return (&Store{opt: Options{Dir: dir}}).binary(name, p.Current.SHA256)
}

// PeekManifest is what the binary that runs says of itself, where the file in the plugin folder is still the one that was taken, or is gone.
func PeekManifest(dir, inbox, name string) (m sdk.Manifest, known bool) {
	p := peek(dir)[name]
	if p == nil || p.Current == nil || p.Seen == nil || p.Seen.SHA256 != p.Current.SHA256 {
		return m, false
	}
	info, err := os.Stat(filepath.Join(inbox, name+extension()))
	if err == nil && !p.Seen.is(info) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, false
	}
	return p.Current.Manifest, true
}

// peek reads what is kept; what is unreadable is as good as none for one who only looks.
func peek(dir string) map[string]*Plugin {
	b, err := os.ReadFile(filepath.Join(dir, stateName))
	if err != nil {
		return nil
	}
	var f stateFile
	if json.Unmarshal(b, &f) != nil {
		return nil
	}
	maps.DeleteFunc(f.Plugins, func(_ string, p *Plugin) bool { return p == nil })
	return f.Plugins
}
