//go:build linux

package main

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// disk is the tree of files with what of it is safe.
type disk struct {
	mu     sync.Mutex
	root   *node
	strict bool    // a directory's entries are safe only after its own fsync
	dead   bool    // the power is off
	nodes  []*node // all that were made
	added  bool    // an entry has changed since they were all made safe

	syncs int           // fsyncs until cut goes on; 0: it does not wait
	met   chan struct{} // closed by the last of them, before it makes anything safe
}

// node is a file or a directory; its disk's mu guards it.
type node struct {
	ino   uint64
	mode  uint32 // type and permissions
	mtime time.Time

	data   []byte // of a file
	synced []byte
	dirty  []span
	low    int64 // smallest size since the last sync

	kids map[string]*node // of a directory
	safe map[string]*node // entries that a power cut leaves
}

type span struct{ from, to int64 }

func newDisk() *disk {
	d := &disk{strict: true}
	d.root = d.node(syscall.S_IFDIR | 0o700)
	return d
}

func (d *disk) node(mode uint32) *node {
	n := &node{ino: uint64(len(d.nodes)) + 1, mode: mode, mtime: time.Now()}
	d.nodes = append(d.nodes, n)
	if n.isDir() {
		n.kids, n.safe = map[string]*node{}, map[string]*node{}
	}
	return n
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

func (n *node) write(p []byte, off int64) {
	end := off + int64(len(p))
	if grow := end - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
	copy(n.data[off:], p)
	n.dirty = append(n.dirty, span{off, end})
	n.mtime = time.Now()
}

func (n *node) truncate(size int64) {
	if size < int64(len(n.data)) {
		n.data = n.data[:size:size]
		n.low = min(n.low, size)
	} else if grow := size - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
	n.mtime = time.Now()
}

// sync makes a file's bytes and size safe, and says whether its size was not.
func (n *node) sync() (grown bool) {
	grown = len(n.synced) != len(n.data)
	if n.low < int64(len(n.synced)) {
		n.dirty = append(n.dirty, span{n.low, int64(len(n.data))})
		n.synced = n.synced[:n.low]
	}
	if more := len(n.data) - len(n.synced); more > 0 {
		n.synced = append(n.synced, make([]byte, more)...)
	}
	for _, s := range n.dirty {
		if to := min(s.to, int64(len(n.data))); s.from < to {
			copy(n.synced[s.from:to], n.data[s.from:to])
		}
	}
	n.dirty, n.low = n.dirty[:0], int64(len(n.data))
	return grown
}

// syncNode is fsync, or fdatasync, of a file or a directory.
func (d *disk) syncNode(n *node, dataOnly bool) {
	if n.isDir() {
		n.keep()
	} else if grown := n.sync(); dataOnly && !grown {
		return
	}
	if !d.strict && d.added {
		d.root.keepAll()
		d.added = false
	}
}

// keep makes a directory's entries safe.
func (n *node) keep() {
	n.safe = make(map[string]*node, len(n.kids))
	for name, kid := range n.kids {
		n.safe[name] = kid
	}
}

func (n *node) keepAll() {
	n.keep()
	for _, kid := range n.kids {
		if kid.isDir() {
			kid.keepAll()
		}
	}
}

// longestAim is how long cut waits for fsyncs at most.
const longestAim = time.Second

// aim waits until that many fsyncs have been asked for. The last of them finds the power gone.
func (d *disk) aim(syncs int) {
	if syncs <= 0 {
		return
	}
	met := make(chan struct{})
	d.mu.Lock()
	d.syncs, d.met = syncs, met
	d.mu.Unlock()
	select {
	case <-met:
	case <-time.After(longestAim):
	}
}

// hit counts an fsync, and says whether the power goes before it. The caller holds mu.
func (d *disk) hit() bool {
	if d.syncs == 0 {
		return false
	}
	if d.syncs--; d.syncs > 0 {
		return false
	}
	d.dead = true
	close(d.met)
	return true
}

// cut ends the disk and gives the one that is found afterwards.
func (d *disk) cut(random *rand.Rand, strict bool) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead, d.syncs = true, 0
	after := &disk{strict: strict}
	// Entries that were not synced may be there all the same, but then all of them: an operation is whole, or it is not.
	after.root = after.found(d.root, random, random.IntN(2) == 0)
	d.forget()
	return after
}

// forget lets go of what the files hold, deleted ones too: the library may keep them long after the power was cut.
func (d *disk) forget() {
	for _, n := range d.nodes {
		n.data, n.synced, n.dirty, n.kids, n.safe = nil, nil, nil, nil, nil
	}
	d.nodes = nil
}

func (d *disk) found(old *node, random *rand.Rand, lucky bool) *node {
	n := d.node(old.mode)
	n.mtime = old.mtime
	if !n.isDir() {
		n.synced = old.survivor(random)
		n.data = append([]byte(nil), n.synced...)
		n.low = int64(len(n.data))
		return n
	}
	entries := old.safe
	if lucky {
		entries = old.kids
	}
	for name, kid := range entries {
		n.kids[name] = d.found(kid, random, lucky)
	}
	n.keep()
	return n
}

// survivor is what a file holds after the cut: what was synced, and of the rest any sectors. It may have grown and hold zeros.
func (n *node) survivor(random *rand.Rand) []byte {
	if len(n.dirty) == 0 && len(n.synced) == len(n.data) && n.low >= int64(len(n.data)) {
		return n.synced
	}
	image := append([]byte(nil), n.synced...)
	if n.low < int64(len(image)) && random.IntN(2) == 0 {
		image = image[:n.low] // the cut of the file has reached the disk
	}
	if size := n.sizeAfter(random, len(image)); size > len(image) {
		image = append(image, make([]byte, size-len(image))...)
	}
	for _, at := range n.dirtySectors() {
		if to := min(at+sector, int64(len(image)), int64(len(n.data))); at < to && random.IntN(2) == 0 {
			copy(image[at:to], n.data[at:to])
		}
	}
	return image
}

// dirtySectors are where the sectors begin that were written since the last sync, each once, in order.
func (n *node) dirtySectors() []int64 {
	begins := map[int64]bool{}
	for _, s := range n.dirty {
		for at := s.from / sector * sector; at < s.to; at += sector {
			begins[at] = true
		}
	}
	return slices.Sorted(maps.Keys(begins))
}

// sizeAfter is any size between the safe one and the newest.
func (n *node) sizeAfter(random *rand.Rand, safe int) int {
	more := len(n.data) - safe
	switch {
	case more <= 0 || random.IntN(3) == 0:
		return safe
	case random.IntN(2) == 0:
		return len(n.data)
	default:
		return safe + random.IntN(more)
	}
}
