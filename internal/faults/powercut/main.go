//go:build linux

// Powercut is a disk in memory whose power can be cut: a file system (FUSE) that knows what was synced. It has a module of
// its own, so that its library is none of hostd's.
//
//	hostd => FUSE => [ powercut: volatile and synced images ] -- cut --> synced, and a random part of the rest
//
// It mounts itself on the folder that its argument names and obeys lines on its standard input; each is answered by "ok" or
// by what is wrong:
//
//	cut SEED MODE SYNCS   from the fsync with that number on, or within a second, every call fails; 0 is at once. What a disk
//	                      would have then is made
//	mount                 mounts that
//
// MODE says when directory entries are safe: with "journal" an fsync of anything that changed a size or a name commits all of
// them, as ext4 and NTFS do; with "strict" only an fsync of their own directory does. It holds from the next mount on;
// before the first cut it is "strict". The folder is unmounted when standard input ends.
package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// power is the mounted disk and the one that comes after the next cut.
type power struct {
	dir  string
	now  *disk
	next *disk
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: powercut FOLDER")
		os.Exit(2)
	}
	p := &power{dir: os.Args[1], next: newDisk()}
	if err := p.mount(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := p.obey(in.Text()); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	if err := syscall.Unmount(p.dir, syscall.MNT_DETACH); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (p *power) obey(line string) error {
	var seed uint64
	var mode string
	var syncs int
	switch {
	case line == "mount":
		return p.remount()
	case strings.HasPrefix(line, "cut "):
		if _, err := fmt.Sscanf(line, "cut %d %s %d", &seed, &mode, &syncs); err != nil || mode != "journal" && mode != "strict" {
			return fmt.Errorf("%q is not: cut SEED journal|strict SYNCS", line)
		}
		p.now.aim(syncs)
		p.next = p.now.cut(rand.New(rand.NewPCG(seed, 1)), mode == "strict")
		return nil
	}
	return fmt.Errorf("unknown command %q", line)
}

func (p *power) remount() error {
	if err := syscall.Unmount(p.dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return p.mount()
}

func (p *power) mount() error {
	options := &fs.Options{RootStableAttr: &fs.StableAttr{Ino: 1, Mode: syscall.S_IFDIR}}
	options.MountOptions = fuse.MountOptions{
		DirectMountStrict: true, FsName: "hostd-powercut", Name: "powercut", DisableXAttrs: true, MaxWrite: 1 << 20,
		DirectMountFlags: syscall.MS_NODEV,
	}
	if _, err := fs.Mount(p.dir, &entry{d: p.next, n: p.next.root}, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	p.now, p.next = p.next, nil
	return nil
}
