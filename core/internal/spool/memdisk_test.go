package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

var errPower = errors.New("power is off")

// memDisk is a disk that knows what a power cut would leave: what was synced, and a random part of the rest.
type memDisk struct {
	entries entries

	mu      sync.Mutex
	names   map[string]*memFile
	folders map[string]bool     // made by Make; others are there for good
	stable  map[string]*memFile // directory entries that were synced
	firm    map[string]bool     // folders whose entries were synced
	history []listing           // what the entries were since they were all safe, oldest first; empty with ownSync

	ops  int
	fail func(n int, op string) error // called with mu held before operation n
	lie  bool                         // Sync does nothing and says that all is well
	deaf bool                         // so does the Sync of folders
	read func(p []byte)               // called with mu held with what was read
}

// entries says when a directory entry is safe.
type entries int

const (
	ownSync    entries = iota // after a sync of its folder, and each by itself
	anySync                   // so, and after a sync of any file that has grown; they and the sizes come in the order of the changes: ext4, xfs
	noSync                    // as anySync, but folders cannot be synced: NTFS
	entryKinds                // how many there are
)

// listing is all directory entries at one moment.
type listing struct {
	names   map[string]*memFile
	folders map[string]bool
	sizes   map[*memFile]int // before the last change
}

type memFile struct {
	data   []byte
	synced []byte
	dirty  []span
	cut    int64 // smallest size since the last sync
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memFile{}, stable: map[string]*memFile{}, folders: map[string]bool{}, firm: map[string]bool{}}
}

func (d *memDisk) disk() disk {
	return disk{files: d, dirs: memDirs{d}, dirless: d.entries == noSync}
}

func (d *memDisk) op(name string) error {
	d.ops++
	if d.fail == nil {
		return nil
	}
	return d.fail(d.ops, name)
}

// changed notes that an entry was made, moved or removed.
func (d *memDisk) changed() {
	if d.entries == ownSync {
		return
	}
	sizes := map[*memFile]int{}
	for _, f := range d.names {
		sizes[f] = len(f.data)
	}
	d.history = append(d.history, listing{maps.Clone(d.names), maps.Clone(d.folders), sizes})
}

// settle makes all entries safe.
func (d *memDisk) settle() {
	d.stable, d.firm, d.history = maps.Clone(d.names), maps.Clone(d.folders), nil
}

type memHandle struct {
	d *memDisk
	f *memFile
}

func (d *memDisk) Open(path string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("open"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f, ok := d.names[path]
	switch {
	case !ok && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case ok && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case !ok:
		f = &memFile{}
		d.names[path] = f
		d.changed()
	}
	return memHandle{d, f}, nil
}

func (d *memDisk) Truncate(path string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("truncate"); err != nil {
		return err
	}
	f, ok := d.names[path]
	if !ok {
		return fs.ErrNotExist
	}
	if size < int64(len(f.data)) {
		f.data = f.data[:size:size]
		f.cut = min(f.cut, size)
	}
	return nil
}

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("rename"); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	d.changed()
	return nil
}

func (d *memDisk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("remove"); err != nil {
		return err
	}
	if _, ok := d.names[path]; !ok {
		return fs.ErrNotExist
	}
	delete(d.names, path)
	d.changed()
	return nil
}

func (h memHandle) ReadAt(p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.op("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[off:])
	if h.d.read != nil {
		h.d.read(p[:n])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h memHandle) WriteAt(p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.op("write")
	if err != nil {
		p = p[:len(p)/2] // a write that fails has often done a part
	}
	if grow := int(off) + len(p) - len(h.f.data); grow > 0 {
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	copy(h.f.data[off:], p)
	h.f.dirty = append(h.f.dirty, span{off, off + int64(len(p))})
	return len(p), err
}

func (h memHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.op("sync")
	if h.d.lie {
		return nil
	}
	f := h.f
	if errors.Is(err, errPower) {
		return err
	}
	if err != nil {
		f.dirty = nil // the kernel forgets what it could not write, and the next sync says that all is well
		return err
	}
	grown := len(f.data) != len(f.synced) || f.cut < int64(len(f.synced)) // or was cut and has grown again
	f.synced = f.synced[:min(int64(len(f.synced)), f.cut)]
	for _, r := range f.dirty {
		r.to = min(r.to, int64(len(f.data)))
		if r.from >= r.to {
			continue
		}
		if grow := int(r.to) - len(f.synced); grow > 0 {
			f.synced = append(f.synced, make([]byte, grow)...)
		}
		copy(f.synced[r.from:r.to], f.data[r.from:r.to])
	}
	f.dirty, f.cut = nil, 1<<62
	if h.d.entries == noSync || h.d.entries == anySync && grown {
		h.d.settle()
	}
	return nil
}

func (h memHandle) Close() error { return nil }

type memDirs struct{ d *memDisk }

func (m memDirs) Make(path string) error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if err := m.d.op("mkdir"); err != nil {
		return err
	}
	for p := filepath.Clean(path); filepath.Dir(p) != "." && !m.d.folders[p]; p = filepath.Dir(p) { // the first one is there
		m.d.folders[p] = true
		m.d.changed()
	}
	return nil
}

func (m memDirs) Size(path string) (int64, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	f, ok := m.d.names[path]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return int64(len(f.data)), nil
}

func (m memDirs) Sync(path string) error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if err := m.d.op("syncdir"); err != nil {
		return err
	}
	switch {
	case m.d.lie || m.d.deaf || m.d.entries == noSync:
		return nil
	case m.d.entries == anySync:
		m.d.settle()
		return nil
	}
	settleIn(m.d.stable, m.d.names, path)
	settleIn(m.d.firm, m.d.folders, path)
	return nil
}

// settleIn makes what is safe of a folder what is there.
func settleIn[V any](safe, now map[string]V, path string) {
	in := func(name string, _ V) bool { return filepath.Dir(name) == filepath.Clean(path) }
	maps.DeleteFunc(safe, in)
	for name, v := range now {
		if in(name, v) {
			safe[name] = v
		}
	}
}

type memInfo struct {
	name string
	size int64
}

func (i memInfo) Name() string     { return i.name }
func (i memInfo) Size() int64      { return i.size }
func (memInfo) Mode() fs.FileMode  { return 0o600 }
func (memInfo) ModTime() time.Time { return time.Time{} }
func (memInfo) IsDir() bool        { return false }
func (memInfo) Sys() any           { return nil }

func (m memDirs) List(path string) ([]fs.FileInfo, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if err := m.d.op("list"); err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for name, f := range m.d.names {
		if filepath.Dir(name) == filepath.Clean(path) {
			infos = append(infos, memInfo{filepath.Base(name), int64(len(f.data))})
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return bytes.Compare([]byte(a.Name()), []byte(b.Name())) })
	return infos, nil
}

// crash returns what the disk holds after a power cut. whole leaves nothing that was not synced, else each sector and
// each directory entry that was not synced is there or not.
func (d *memDisk) crash(rnd *rand.Rand, whole bool) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newMemDisk()
	after.entries, after.lie, after.deaf = d.entries, d.lie, d.deaf
	there := d.found(rnd, whole)
	for _, name := range slices.Sorted(maps.Keys(there.names)) {
		left := there.names[name].left(rnd, whole, there.sizes)
		after.names[name] = &memFile{data: left, synced: bytes.Clone(left), cut: 1 << 62}
	}
	after.folders = there.folders
	after.settle()
	return after
}

// found are the directory entries after a power cut, and the sizes that files may have grown to where that is not all.
func (d *memDisk) found(rnd *rand.Rand, whole bool) listing {
	safe := listing{names: d.stable, folders: d.firm}
	switch {
	case whole:
	case d.entries == ownSync:
		safe = listing{names: either(rnd, d.stable, d.names), folders: either(rnd, d.firm, d.folders)}
	default:
		n := rnd.IntN(len(d.history) + 1)
		if n > 0 {
			safe = d.history[n-1]
		}
		if safe.sizes = nil; n < len(d.history) {
			safe.sizes = d.history[n].sizes
		}
	}
	return safe.reachable(d.folders)
}

// either gives of each entry the safe one or the newest.
func either[V comparable](rnd *rand.Rand, safe, now map[string]V) map[string]V {
	all, out := maps.Clone(safe), map[string]V{}
	maps.Copy(all, now)
	var none V
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := safe[name]
		if now[name] != v && rnd.IntN(2) == 0 {
			v = now[name]
		}
		if v != none {
			out[name] = v
		}
	}
	return out
}

// reachable leaves out what lies in a folder that is gone. made are those that may be.
func (l listing) reachable(made map[string]bool) listing {
	gone := func(p string) bool {
		for p = filepath.Dir(p); p != "."; p = filepath.Dir(p) {
			if made[p] && !l.folders[p] {
				return true
			}
		}
		return false
	}
	out := listing{maps.Clone(l.names), maps.Clone(l.folders), l.sizes}
	maps.DeleteFunc(out.names, func(p string, _ *memFile) bool { return gone(p) })
	maps.DeleteFunc(out.folders, func(p string, _ bool) bool { return gone(p) })
	return out
}

// left is what the disk holds of a file. Beyond sizes, where it is in them, it has not grown.
func (f *memFile) left(rnd *rand.Rand, whole bool, sizes map[*memFile]int) []byte {
	out := bytes.Clone(f.synced)
	if whole {
		return out
	}
	grown := len(f.data)
	if size, ok := sizes[f]; ok {
		grown = min(grown, size)
	}
	lo, hi := min(grown, len(f.synced)), max(grown, len(f.synced))
	size := []int{lo, hi, lo + rnd.IntN(hi-lo+1)}[rnd.IntN(3)]
	if size <= len(out) {
		out = out[:size]
	} else {
		out = append(out, make([]byte, size-len(out))...) // grown, and full of zeros
	}
	for at := 0; at < len(out); at += sector {
		if end := min(at+sector, len(out), len(f.data)); end > at && rnd.IntN(2) == 0 {
			copy(out[at:end], f.data[at:end])
		}
	}
	return out
}
