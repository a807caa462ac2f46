package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
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
	mu     sync.Mutex
	names  map[string]*memFile
	stable map[string]*memFile // directory entries that were synced
	ops    int
	fail   func(n int, op string) error // called with mu held before operation n
	lie    bool                         // Sync does nothing and says that all is well
}

type memFile struct {
	data   []byte
	synced []byte
	dirty  []span
	cut    int64 // smallest size since the last sync
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memFile{}, stable: map[string]*memFile{}}
}

func (d *memDisk) disk() disk { return disk{files: d, dirs: memDirs{d}} }

func (d *memDisk) op(name string) error {
	d.ops++
	if d.fail == nil {
		return nil
	}
	return d.fail(d.ops, name)
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
	return nil
}

func (h memHandle) Close() error { return nil }

type memDirs struct{ d *memDisk }

func (memDirs) Make(string) error { return nil }

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
	if m.d.lie {
		return nil
	}
	for name := range m.d.stable {
		if filepath.Dir(name) == filepath.Clean(path) {
			delete(m.d.stable, name)
		}
	}
	for name, f := range m.d.names {
		if filepath.Dir(name) == filepath.Clean(path) {
			m.d.stable[name] = f
		}
	}
	return nil
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
	after.lie = d.lie
	paths := map[string]bool{}
	for name := range d.names {
		paths[name] = true
	}
	for name := range d.stable {
		paths[name] = true
	}
	sorted := make([]string, 0, len(paths))
	for name := range paths {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		f := d.stable[name]
		if now := d.names[name]; now != f && !whole && rnd.IntN(2) == 0 {
			f = now
		}
		if f == nil {
			continue
		}
		left := f.left(rnd, whole)
		g := &memFile{data: left, synced: bytes.Clone(left), cut: 1 << 62}
		after.names[name], after.stable[name] = g, g
	}
	return after
}

// left is what the disk holds of a file.
func (f *memFile) left(rnd *rand.Rand, whole bool) []byte {
	out := bytes.Clone(f.synced)
	if whole {
		return out
	}
	lo, hi := min(len(f.data), len(f.synced)), max(len(f.data), len(f.synced))
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
