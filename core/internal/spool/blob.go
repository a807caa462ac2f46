package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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
	forget := s.takes(hash) // before the first look: from here on it is not swept
	if s.checkBlob(path, hash, size) == nil {
		return s.takeTwice(staged, path)
	}
	if err := s.checkBlob(staged, hash, size); err != nil {
		if errors.Is(err, ErrBlob) {
			forget()
		}
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
	if err == nil && s.disk.dirless {
		err = s.syncBlob(path) // Rule 18: a record that is written over zeros may be on the disk before the name is
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
	got, n, err := hashOf(io.NewSectionReader(f, 0, size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return diskError("read attachment", err)
	}
	if n != size || got != hash {
		return fmt.Errorf("%w: %d bytes with hash %s, said %d with %s", ErrBlob, n, got, size, hash)
	}
	return nil
}

// OpenBlob opens the attachment with that hash for reading. An unknown one is os.ErrNotExist, a malformed hash ErrBlob.
// The content is not checked: see ReadBlob and VerifyBlob.
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

// ReadBlob opens the attachment with that hash for reading, and checks it on the way: the last Read returns ErrBlob in
// place of io.EOF when the content is not what the hash says. Errors are those of OpenBlob.
func (s *Spool) ReadBlob(hash string) (io.ReadCloser, error) {
	f, err := s.OpenBlob(hash)
	if err != nil {
		return nil, err
	}
	return &checkedBlob{f: f, hash: hash, sum: sha256.New()}, nil
}

// checkedBlob hashes what is read.
type checkedBlob struct {
	f    *os.File
	hash string
	sum  hash.Hash
}

func (b *checkedBlob) Read(p []byte) (int, error) {
	n, err := b.f.Read(p)
	b.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := hex.EncodeToString(b.sum.Sum(nil)); got != b.hash {
			err = fmt.Errorf("read attachment: %w: hash %s, said %s", ErrBlob, got, b.hash)
		}
	}
	return n, err
}

func (b *checkedBlob) Close() error { return b.f.Close() }

// VerifyBlob reads the whole attachment with that hash. ErrBlob: its content is another. An unknown one is os.ErrNotExist.
func (s *Spool) VerifyBlob(ctx context.Context, hash string) error {
	path, err := s.blobPath(hash)
	if err != nil {
		return err
	}
	f, err := s.disk.Open(path, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("verify attachment: %w", err)
	}
	got, _, err := hashOf(&endingReader{ctx, io.NewSectionReader(f, 0, 1<<62)})
	if err = errors.Join(err, f.Close()); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return diskError("verify attachment", err)
	}
	if got != hash {
		return fmt.Errorf("verify attachment: %w: hash %s, said %s", ErrBlob, got, hash)
	}
	return nil
}

// endingReader ends with ctx.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (e *endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// hashOf reads r to its end.
func hashOf(r io.Reader) (hash string, n int64, err error) {
	sum := sha256.New()
	n, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{r}, make([]byte, chunk))
	return hex.EncodeToString(sum.Sum(nil)), n, err
}

// blobPath refuses everything that is not a hash, and so every path.
func (s *Spool) blobPath(hash string) (string, error) {
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: hash is not 64 lower-case hex digits", ErrBlob)
	}
	return filepath.Join(s.opt.Blobs, hash[:2], hash), nil
}
