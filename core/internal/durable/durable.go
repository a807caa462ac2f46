// Package durable writes small files of the host's own so that a power cut leaves the old content or the new one, never a
// part: beside the file, synced, renamed over it, and the folder synced.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile replaces the file at path, for the owner alone, and returns when the content is on the disk. After an error
// the old content is there, or none.
func WriteFile(path string, data []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(next, path) // Rule 18: synced before it gets its name
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

// Rename gives a file or a folder another name in the same folder, and returns when that is on the disk.
func Rename(path, to string) error {
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

// Remove deletes a file, and returns when that is on the disk. One that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}

// SyncDir makes the names in a folder durable. It does nothing on Windows, where a folder cannot be synced.
func SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
