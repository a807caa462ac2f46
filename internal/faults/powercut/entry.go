//go:build linux

package main

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// entry is a node as the kernel sees it.
type entry struct {
	fs.Inode
	d *disk
	n *node
}

// room is what the disk says that it has, in blocks of blockSize.
const (
	blockSize = 4096
	room      = 1 << 22
)

// alive takes the disk's mutex, if there is power. The caller gives it back.
func (e *entry) alive() bool {
	e.d.mu.Lock()
	if e.d.dead {
		e.d.mu.Unlock()
		return false
	}
	return true
}

func (e *entry) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = e.n.ino, e.n.mode, 1, blockSize
	out.Size = uint64(len(e.n.data))
	out.Blocks = (out.Size + 511) / 512
	out.SetTimes(nil, &e.n.mtime, &e.n.mtime)
}

// child makes the kernel's view of a node. The caller holds mu.
func (e *entry) child(ctx context.Context, n *node, out *fuse.EntryOut) *fs.Inode {
	kid := &entry{d: e.d, n: n}
	kid.attr(&out.Attr)
	return e.NewInode(ctx, kid, fs.StableAttr{Mode: n.mode & syscall.S_IFMT, Ino: n.ino})
}

func (e *entry) make(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if !e.alive() {
		return nil, syscall.EIO
	}
	defer e.d.mu.Unlock()
	if e.n.kids[name] != nil {
		return nil, syscall.EEXIST
	}
	n := e.d.node(mode)
	e.n.kids[name], e.d.added = n, true
	return e.child(ctx, n, out), 0
}

func (e *entry) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if !e.alive() {
		return nil, syscall.EIO
	}
	defer e.d.mu.Unlock()
	n := e.n.kids[name]
	if n == nil {
		return nil, syscall.ENOENT
	}
	return e.child(ctx, n, out), 0
}

func (e *entry) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if !e.alive() {
		return syscall.EIO
	}
	defer e.d.mu.Unlock()
	e.attr(&out.Attr)
	return 0
}

func (e *entry) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !e.alive() {
		return syscall.EIO
	}
	defer e.d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		e.n.truncate(int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		e.n.mode = e.n.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	if at, ok := in.GetMTime(); ok {
		e.n.mtime = at
	}
	e.attr(&out.Attr)
	return 0
}

func (e *entry) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return e.make(ctx, name, syscall.S_IFDIR|mode&^syscall.S_IFMT, out)
}

func (e *entry) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return e.make(ctx, name, mode, out)
}

func (e *entry) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n, errno := e.make(ctx, name, syscall.S_IFREG|mode&^syscall.S_IFMT, out)
	return n, nil, 0, errno
}

func (e *entry) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if !e.alive() {
		return nil, 0, syscall.EIO
	}
	defer e.d.mu.Unlock()
	return nil, fuse.FOPEN_KEEP_CACHE, 0 // nobody else writes
}

func (e *entry) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if !e.alive() {
		return nil, syscall.EIO
	}
	defer e.d.mu.Unlock()
	n := 0
	if off < int64(len(e.n.data)) {
		n = copy(dest, e.n.data[off:])
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (e *entry) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	if !e.alive() {
		return 0, syscall.EIO
	}
	defer e.d.mu.Unlock()
	e.n.write(p, off)
	return uint32(len(p)), 0
}

func (e *entry) Fsync(_ context.Context, _ fs.FileHandle, flags uint32) syscall.Errno {
	if !e.alive() {
		return syscall.EIO
	}
	defer e.d.mu.Unlock()
	if e.d.hit() {
		return syscall.EIO
	}
	e.d.syncNode(e.n, flags&1 != 0)
	return 0
}

func (e *entry) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	if !e.alive() {
		return nil, syscall.EIO
	}
	defer e.d.mu.Unlock()
	var list []fuse.DirEntry
	for name, kid := range e.n.kids {
		list = append(list, fuse.DirEntry{Name: name, Mode: kid.mode, Ino: kid.ino})
	}
	return fs.NewListDirStream(list), 0
}

func (e *entry) Unlink(_ context.Context, name string) syscall.Errno { return e.remove(name) }

func (e *entry) Rmdir(_ context.Context, name string) syscall.Errno { return e.remove(name) }

func (e *entry) remove(name string) syscall.Errno {
	if !e.alive() {
		return syscall.EIO
	}
	defer e.d.mu.Unlock()
	n := e.n.kids[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.kids) > 0:
		return syscall.ENOTEMPTY
	}
	delete(e.n.kids, name)
	e.d.added = true
	return 0
}

func (e *entry) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if !e.alive() {
		return syscall.EIO
	}
	defer e.d.mu.Unlock()
	other, ok := to.(*entry)
	n := e.n.kids[name]
	switch {
	case !ok || flags&^1 != 0: // 1 is RENAME_NOREPLACE
		return syscall.EINVAL
	case n == nil:
		return syscall.ENOENT
	case flags == 1 && other.n.kids[newName] != nil:
		return syscall.EEXIST
	}
	delete(e.n.kids, name)
	other.n.kids[newName], e.d.added = n, true
	return 0
}

func (e *entry) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Blocks, out.Bfree, out.Bavail, out.NameLen = blockSize, room, room, room, 255
	return 0
}
