package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// picture is a file that an exam names as its attachment.
type picture struct {
	path string
	stamp
}

// images looks for attachments and knows which of them have settled. It belongs to the device's calls.
type images struct {
	d      *folder
	seen   map[string]*sight            // by path
	folded map[string]map[string]string // of this scan: folder to names, by their folded form; empty where it is not the only one
	scan   uint64
	staged int // files made, for their names
	moving int // how often find met a file that has not settled
}

func newImages(d *folder) images { return images{d: d, seen: map[string]*sight{}} }

// begin forgets what was listed, and the files that nobody asked for since the last scan.
func (m *images) begin() {
	for path, s := range m.seen {
		if s.scan < m.scan {
			delete(m.seen, path)
		}
	}
	m.scan++
	m.folded = map[string]map[string]string{}
}

// all says whether each of these attachments of the exam in rel is there.
func (m *images) all(rel string, names []string) bool {
	for _, name := range names {
		if _, ok := m.find(rel, name, m.mtimeOf(rel)); !ok {
			return false
		}
	}
	return true
}

func (m *images) mtimeOf(rel string) int64 {
	if s := m.d.seen[rel]; s != nil {
		return s.mtime
	}
	return 0
}

// find looks for an attachment of the exam in rel, which has settled itself and was written at mtime: a file that was
// written no later has settled, too, since both times are the share's.
func (m *images) find(rel, name string, mtime int64) (picture, bool) {
	if name = lastPart(name); !plainName(name) {
		return picture{}, false
	}
	for _, dir := range m.d.AttachDirs {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(m.d.Dir, filepath.Dir(rel), filepath.FromSlash(dir))
		}
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if err != nil {
			if path = m.alike(dir, name); path == "" {
				continue
			}
			if info, err = os.Lstat(path); err != nil {
				continue
			}
		}
		p := picture{path: path, stamp: stampOf(info)}
		if info.Mode().IsRegular() && p.size > 0 && p.size <= int64(m.d.MaxAttachMB)<<20 && m.settled(p, mtime) {
			return p, true
		}
	}
	return picture{}, false
}

func (m *images) settled(p picture, mtime int64) bool {
	now := time.Now()
	s := m.seen[p.path]
	if s == nil || s.stamp != p.stamp {
		s = &sight{stamp: p.stamp, since: now}
		m.seen[p.path] = s
	}
	s.scan = m.scan
	if p.mtime <= mtime || now.Sub(s.since) >= m.d.Settle {
		return true
	}
	m.moving++
	return false
}

// alike finds the one file whose name differs from name in blanks and case only: one document of the maker's pads the
// patient's id in the name and the other does not. Of two such files neither is guessed.
func (m *images) alike(dir, name string) string {
	names, listed := m.folded[dir]
	if !listed {
		names = map[string]string{}
		// A folder that cannot be listed holds no attachment now.
		_ = list(dir, func(e fs.DirEntry) error {
			k := fold(e.Name())
			if _, taken := names[k]; taken {
				names[k] = ""
			} else {
				names[k] = e.Name()
			}
			return nil
		})
		m.folded[dir] = names
	}
	if found := names[fold(name)]; found != "" {
		return filepath.Join(dir, found)
	}
	return ""
}

func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "")) }

// lastPart is the file's name in a path of the instrument's: the folders in it are its own, and are not looked into.
func lastPart(name string) string { return name[strings.LastIndexAny(name, `/\\`)+1:] }

// plainName says that a name from an exam is no path.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\\:\x00")
}

func contentType(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	case ".bmp":
		return "image/bmp"
	case ".tif", ".tiff":
		return "image/tiff"
	case ".pdf":
		return "application/pdf"
	}
	return ""
}

// staged are copies of attachments in the staging folder, by the names in the exam.
type staged struct{ files map[string]stagedFile }

type stagedFile struct {
	path   string
	digest [32]byte
}

func (s *staged) remove() {
	for _, f := range s.files {
		_ = os.Remove(f.path) // the host empties the folder before each Open
	}
}

// stage copies the attachments of r that are not in sent. lost are those that vanished, changed, cannot be read, or take
// longer than ctx lasts; an error means that the staging folder cannot take them.
func (d *folder) stage(ctx context.Context, r *reading, sent uint64) (*staged, []string, error) {
	s, lost := &staged{files: map[string]stagedFile{}}, []string(nil)
	for i, name := range r.names {
		p, ok := r.there[name]
		if !ok || sent&(1<<i) != 0 {
			continue
		}
		d.images.staged++
		to := filepath.Join(d.env.StagingDir, "image-"+strconv.Itoa(d.images.staged))
		digest, err := copySettled(ctx, to, p)
		if errors.Is(err, errWrite) {
			s.remove()
			return nil, nil, err
		}
		if err != nil {
			lost = append(lost, name)
			continue
		}
		s.files[name] = stagedFile{path: to, digest: digest}
	}
	return s, lost, nil
}

// errWrite marks an error of the side that is written.
var errWrite = errors.New("stage attachment")

func copySettled(ctx context.Context, to string, p picture) (digest [32]byte, err error) {
	in, err := os.Open(p.path)
	if err != nil {
		return digest, err
	}
	defer in.Close()
	if err := unchanged(in, p.stamp); err != nil {
		return digest, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return digest, fmt.Errorf("%w: %w", errWrite, sdk.Cause(err))
	}
	sum := sha256.New()
	err = copyChunks(ctx, out, in, sum)
	if closing := out.Close(); err == nil && closing != nil {
		err = fmt.Errorf("%w: %w", errWrite, sdk.Cause(closing))
	}
	if err == nil {
		err = unchanged(in, p.stamp)
	}
	if err != nil {
		_ = os.Remove(to) // the host empties the folder before each Open
		return digest, err
	}
	return [32]byte(sum.Sum(nil)), nil
}

// copyChunks copies until the end of in, or of ctx.
func copyChunks(ctx context.Context, out io.Writer, in io.Reader, sum hash.Hash) error {
	chunk := make([]byte, 256<<10)
	for {
		n, err := in.Read(chunk)
		sum.Write(chunk[:n])
		if _, werr := out.Write(chunk[:n]); werr != nil {
			return fmt.Errorf("%w: %w", errWrite, sdk.Cause(werr))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// unstage removes the copies of a batch that the host did not take.
func (d *folder) unstage(b *batch) {
	for i := range b.records {
		for _, a := range b.records[i].Attachments {
			_ = os.Remove(filepath.Join(d.env.StagingDir, filepath.Base(a.Path))) // the host empties the folder before each Open
		}
	}
}
