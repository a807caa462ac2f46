package pluginstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/internal/durable"
)

// sumSize is the length of a SHA-256 in hex.
const sumSize = 2 * sha256.Size

// maxBinary is the size of the largest binary that is taken.
const maxBinary = 1 << 30

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// validName says whether a plugin may be called so. Hostd's own programs may lie in the same folder, and are none.
func validName(name string) bool {
	return nameForm.MatchString(name) && name != "hostd" && name != "hostd-kit"
}

// ErrLater is a file that cannot be read whole now: it is being copied, locked, or held by an antivirus program.
var ErrLater = errors.New("not readable yet")

// ErrUntrusted is a file whose bytes, or whose place, are not trusted.
var ErrUntrusted = errors.New("not trusted")

// Scan looks at the plugin folder and gives the names whose file is another than the one that was read last, and was the same at the
// Scan before. Settled takes them at once, for the start. A file that is gone is no change.
func (s *Store) Scan(settled bool) (names []string, err error) {
	entries, err := os.ReadDir(s.opt.Inbox)
	if err != nil {
		return nil, fmt.Errorf("look at plugin folder: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	looks := map[string]fs.FileInfo{}
	for _, e := range entries {
		name := NameOf(e)
		if name == "" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		looks[name] = info
		if p := s.plugins[name]; p != nil && p.Seen != nil && p.Seen.is(info) && p.Seen.Signature == s.signature(name) {
			delete(s.waiting, name)
			continue
		}
		if before := s.looks[name]; settled || before != nil && before.Size() == info.Size() && before.ModTime().Equal(info.ModTime()) {
			names = append(names, name)
		}
	}
	s.looks = looks
	for name := range s.waiting {
		if looks[name] == nil {
			delete(s.waiting, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// NameOf is the plugin's name by the name of its file; empty for a file that is no program of this platform.
func NameOf(e fs.DirEntry) string {
	name, exe := strings.CutSuffix(e.Name(), ".exe")
	if !e.Type().IsRegular() || exe != (runtime.GOOS == "windows") || !validName(name) {
		return ""
	}
	return name
}

func (l *Look) is(info fs.FileInfo) bool { return l.Size == info.Size() && l.Mod.Equal(info.ModTime()) }

// Read reads the file of that name, says whether its bytes are trusted, and copies nothing. The errors are those of Take.
func (s *Store) Read(name string) (Look, error) { return s.read(name, io.Discard) }

// Take copies the file of that name into the store, and gives the path of the copy. The error is ErrLater where the file cannot be read whole
// now, with the reason, which Waiting keeps; ErrUntrusted where its bytes may not run, which is noted as a refusal; another one is the store's own.
func (s *Store) Take(name string) (path string, l Look, err error) {
	part, err := os.CreateTemp(s.path(incomingName), name+"-*")
	if err != nil {
		return "", l, fmt.Errorf("take plugin %s: %w", name, err)
	}
	defer func() {
		if gone := os.Remove(part.Name()); err == nil && gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			s.opt.Log.Debug("part of a plugin not deleted", "err", gone)
		}
	}()
	l, err = s.read(name, part)
	err = errors.Join(err, part.Chmod(0o500), part.Sync(), part.Close())
	if err != nil {
		return "", l, s.notTaken(name, l, err)
	}
	path = s.binary(name, l.SHA256)
	if err := place(part.Name(), path); err != nil {
		return "", l, fmt.Errorf("take plugin %s: %w", name, err)
	}
	return path, l, s.change(name, func(p *Plugin) { p.Seen = &l })
}

// place gives a copy its name. Where there is one already, it has the same bytes and may run.
func place(part, path string) error {
	if sum, err := hashFile(path); err == nil && sum == filepath.Base(filepath.Dir(path)) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(filepath.Dir(path)), durable.SyncDir(filepath.Dir(filepath.Dir(path))))
}

// notTaken keeps why a file was not read, or is not trusted.
func (s *Store) notTaken(name string, l Look, err error) error {
	err = fmt.Errorf("take plugin %s: %w", name, err)
	switch {
	case errors.Is(err, ErrLater):
		s.mu.Lock()
		s.waiting[name] = err.Error()
		s.mu.Unlock()
	case errors.Is(err, ErrUntrusted):
		var why *untrusted
		if errors.As(err, &why) {
			l.Untrusted = why.text
		}
		return errors.Join(err, s.change(name, func(p *Plugin) { p.Seen = &l }))
	}
	return err
}

// read copies the file of that name to w, hashes what it copies, and holds it against the trust.
func (s *Store) read(name string, w io.Writer) (l Look, err error) {
	file := filepath.Join(s.opt.Inbox, name+extension())
	src, err := os.Open(file)
	if err != nil {
		return l, later(err)
	}
	defer src.Close()
	before, err := src.Stat()
	switch {
	case err != nil:
		return l, later(err)
	case before.Size() == 0:
		return l, fmt.Errorf("%w: the file is empty", ErrLater)
	case before.Size() > maxBinary:
		return l, fmt.Errorf("%w: the file has %d bytes, and a plugin has at most %d", ErrLater, before.Size(), maxBinary)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, &own{w}), io.LimitReader(src, maxBinary))
	var mine *ownError
	switch {
	case errors.As(err, &mine):
		return l, mine.error
	case err != nil:
		return l, later(err)
	}
	after, err := os.Stat(file)
	if err != nil {
		return l, later(err)
	}
	if n != before.Size() || after.Size() != n || !after.ModTime().Equal(before.ModTime()) {
		return l, fmt.Errorf("%w: the file changed while it was read", ErrLater)
	}
	l = Look{Size: n, Mod: before.ModTime(), SHA256: hex.EncodeToString(h.Sum(nil)), Signature: s.signature(name)}
	if slices.Contains(s.Known(name).Approved, l.SHA256) {
		return l, nil
	}
	return l, s.trusts(name, file, &l)
}

// own tells the store's failures from the file's.
type own struct{ w io.Writer }

type ownError struct{ error }

// Write is io.Writer's.
func (o *own) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		err = &ownError{err}
	}
	return n, err
}

func later(err error) error { return fmt.Errorf("%w: %w", ErrLater, err) }

// trusts is nil where the bytes may run. That of the folder is about who may write to it.
func (s *Store) trusts(name, file string, l *Look) error {
	if s.opt.Trust.Mode != Folder || s.opt.Writers == nil {
		return s.opt.Trust.holds(name, &Version{SHA256: l.SHA256, Signature: l.Signature}, nil)
	}
	return Loose(s.opt.Writers, s.opt.Inbox, file)
}

// Loose is an ErrUntrusted where somebody besides its owner and the system may write the plugin folder, or a file in it, by what writers says; or
// ErrLater.
func Loose(writers func(path string) ([]string, error), inbox, file string) error {
	for _, path := range []string{inbox, file} {
		who, err := writers(path)
		if err != nil {
			return later(err)
		}
		if len(who) > 0 {
			name := strings.TrimSuffix(filepath.Base(file), extension())
			return &untrusted{fmt.Sprintf("%s can be written by %s: take that right away, then hostd plugins approve %s, or use plugins.trust: pinned", path, strings.Join(who, ", "), name)}
		}
	}
	return nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), cmp.Or(err, f.Close())
}
