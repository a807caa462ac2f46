package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

const (
	attachmentDir = "attachments"
	partSuffix    = ".part"
	maxSynced     = 10_000 // hashes to remember, about 1 MiB
)

// shelf keeps attachments as dir/aa/HASH, each content once. A file has its name only when all of it is on the disk; a
// NAME.part is one that a crash ended, and is begun again when its record comes again.
type shelf struct {
	dir    string
	blob   func(ctx context.Context, hash string) (io.ReadCloser, error)
	synced map[string]bool // hashes and folders that this process knows to be on the disk
}

// Keep returns when the content is on the disk under its name. A permanent error: the host does not have it.
func (s *shelf) Keep(ctx context.Context, a *sdk.Attachment) error {
	if s.synced[a.Hash] && s.there(filepath.Join(s.dir, a.Hash[:2], a.Hash)) {
		return nil
	}
	if len(a.Hash) != 2*sha256.Size || strings.Trim(a.Hash, "0123456789abcdef") != "" {
		return sdk.Permanent(errors.New("keep attachment: its hash is not 64 lower-case hex digits"))
	}
	err := s.store(ctx, a)
	switch {
	case errors.Is(err, errMissing), errors.Is(err, errContent):
		return sdk.Permanent(fmt.Errorf("keep attachment %s: %w", a.Hash, err))
	case err != nil:
		return unavailable("keep attachment "+a.Hash, err)
	}
	if len(s.synced) >= maxSynced {
		clear(s.synced)
	}
	s.synced[a.Hash] = true
	return nil
}

// there says whether the file or folder still is: somebody may have put another folder in the archive's place, and then
// nothing that is remembered holds.
func (s *shelf) there(path string) bool {
	_, err := os.Stat(path)
	if err != nil {
		clear(s.synced)
	}
	return err == nil
}

func (s *shelf) store(ctx context.Context, a *sdk.Attachment) error {
	place := filepath.Join(s.dir, a.Hash[:2])
	path := filepath.Join(place, a.Hash)
	if err := s.makePlace(place); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size() == a.Size {
		return syncDir(place) // the process that renamed it may have ended before it could
	}
	if err := s.copy(ctx, a, path+partSuffix); err != nil {
		return err
	}
	if err := os.Rename(path+partSuffix, path); err != nil { // Rule 18: synced before it gets its name
		return err
	}
	return syncDir(place)
}

// makePlace makes the folder for one attachment. Once in the life of the process it also makes its name durable: the one
// before may have ended in between.
func (s *shelf) makePlace(place string) error {
	if s.synced[place] && s.there(place) {
		return nil
	}
	if err := makeDirs(place); err != nil {
		return err
	}
	if err := errors.Join(syncDir(s.dir), syncDir(filepath.Dir(s.dir))); err != nil {
		return err
	}
	s.synced[place] = true
	return nil
}

// copy writes the content to path, synced, and removes it again unless it is what its hash says.
func (s *shelf) copy(ctx context.Context, a *sdk.Attachment, path string) error {
	in, err := s.blob(ctx, a.Hash)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), untilEnd(ctx, in))
	if err == nil && (n != a.Size || hex.EncodeToString(sum.Sum(nil)) != a.Hash) {
		err = errContent
	}
	if err == nil {
		err = datasync(out)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// readFunc is a reader.
type readFunc func(p []byte) (int, error)

// Read calls f.
func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// untilEnd reads from in, and ends with ctx in the middle of a large file.
func untilEnd(ctx context.Context, in io.Reader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return in.Read(p)
	})
}
