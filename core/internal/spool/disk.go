package spool

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const onWindows = runtime.GOOS == "windows"

// file is one open file. Sync returns when the bytes written so far, and the size, are on the disk.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// files are the operations on files by path; tests replace them to let the n-th one fail.
type files interface {
	// Open opens for flag, os.O_RDONLY or os.O_RDWR with or without os.O_CREATE|os.O_EXCL.
	Open(path string, flag int) (file, error)
	Truncate(path string, size int64) error
	Rename(from, to string) error
	Remove(path string) error
}

// dirs are the operations on directories by path.
type dirs interface {
	Make(path string) error
	List(path string) ([]fs.FileInfo, error) // regular files only, sorted by name
	Sync(path string) error                  // its entries are on the disk; does nothing on Windows
	Size(path string) (int64, error)         // of the file with that path
}

// disk is the file system that a spool works on.
type disk struct {
	files
	dirs    dirs
	dirless bool // Sync of a folder does nothing: what was renamed is on the disk with the next sync of a file
}

func osDisk() disk { return disk{files: osFiles{}, dirs: osDirs{}, dirless: onWindows} }

type osFiles struct{}

type osFile struct{ *os.File }

// Sync is fdatasync where there is one: the times of the file need not be on the disk.
func (f osFile) Sync() error { return datasync(f.File) }

func (osFiles) Open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Truncate(path string, size int64) error { return os.Truncate(path, size) }
func (osFiles) Rename(from, to string) error           { return os.Rename(from, to) }
func (osFiles) Remove(path string) error               { return os.Remove(path) }

type osDirs struct{}

func (osDirs) Make(path string) error { return os.MkdirAll(path, 0o700) }

func (osDirs) List(path string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

func (osDirs) Size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osDirs) Sync(path string) error {
	if onWindows {
		return nil
	}
	d, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
