package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// TakeBlob moves the finished file staged into the store of attachments, where it is found by hash: SHA-256 of its
// content, 64 lower-case hex digits. It checks hash and size (bytes), syncs the file, renames it and syncs the folder;
// with nil the content is durable, and only then may a record that names it be appended. staged must lie on the same
// file system. Content that is there already is checked, and staged is removed. ErrBlob: the file is not what was
// said, it stays where it is. ErrFull, ErrDisk: it stays, and the call may be repeated.
func (s *Spool) TakeBlob(staged, hash string, size int64) error {
	path, err := s.blobPath(hash)
	if err != nil {
		return err
	}
	if s.checkBlob(path, hash, size) == nil {
		return s.takeTwice(staged, path)
	}
	if err := s.checkBlob(staged, hash, size); err != nil {
		return fmt.Errorf("take attachment: %w", err)
	}
	return s.moveBlob(staged, path)
}

// takeTwice removes staged, whose content is in the store; its file there may come from a host that was killed
// before it could sync.
func (s *Spool) takeTwice(staged, path string) error {
	err := s.syncBlob(path)
	if err == nil {
		err = s.disk.dirs.Sync(filepath.Dir(path))
	}
	if err != nil {
		return diskError("take attachment", err)
	}
	if err := s.disk.Remove(staged); err != nil && !errors.Is(err, os.ErrNotExist) {
		return diskError("take attachment", err)
	}
	return nil
}

func (s *Spool) moveBlob(staged, path string) error {
	dir := filepath.Dir(path)
	err := s.syncBlob(staged)
	if err == nil {
		err = s.disk.dirs.Make(dir)
	}
	if err == nil {
		err = s.disk.dirs.Sync(s.opt.Blobs)
	}
	if err == nil {
		err = s.disk.Rename(staged, path) // Rule 18: synced before it gets its name
	}
	if err == nil {
		err = s.disk.dirs.Sync(dir)
	}
	return diskError("take attachment", err)
}

func (s *Spool) syncBlob(path string) error {
	f, err := s.disk.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkBlob reads the whole file.
func (s *Spool) checkBlob(path, hash string, size int64) error {
	f, err := s.disk.Open(path, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBlob, err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return diskError("read attachment", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != size || got != hash {
		return fmt.Errorf("%w: %d bytes with hash %s, said %d with %s", ErrBlob, n, got, size, hash)
	}
	return nil
}

// OpenBlob opens the attachment with that hash for reading. An unknown one is os.ErrNotExist, a malformed hash ErrBlob.
// The content is not checked again: a reader that needs certainty compares the hash.
func (s *Spool) OpenBlob(hash string) (*os.File, error) {
	path, err := s.blobPath(hash)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open attachment: %w", err)
	}
	return f, nil
}

// blobPath refuses everything that is not a hash, and so every path.
func (s *Spool) blobPath(hash string) (string, error) {
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: hash is not 64 lower-case hex digits", ErrBlob)
	}
	return filepath.Join(s.opt.Blobs, hash[:2], hash), nil
}
