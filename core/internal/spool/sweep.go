package spool

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// blobHash is the SHA-256 of an attachment.
type blobHash [sha256.Size]byte

// taken are the attachments that were taken since Open and may not have their record yet. They are never swept: a device
// whose batch was refused sends its records again, and not its files.
type taken struct {
	mu    sync.Mutex // held while an attachment is removed, too; before nothing else
	marks map[blobHash]take
}

// take is the last TakeBlob of an attachment.
type take struct {
	after uint64 // a record with this number or a higher one is the one it was taken for
	at    time.Time
}

// takes notes that the attachment is taken, and returns what undoes it.
func (s *Spool) takes(hash string) (forget func()) {
	var h blobHash
	if n, err := hex.Decode(h[:], []byte(hash)); s.opt.Describe == nil || err != nil || n != len(h) {
		return func() {} // without Describe there is no sweep
	}
	now := take{after: s.nextSeq(), at: time.Now()}
	before, had := s.taken.set(h, now)
	return func() { s.taken.undo(h, now, before, had) }
}

func (s *Spool) nextSeq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (t *taken) set(h blobHash, now take) (before take, had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.marks == nil {
		t.marks = map[blobHash]take{}
	}
	before, had = t.marks[h]
	t.marks[h] = now
	return before, had
}

func (t *taken) undo(h blobHash, mine, before take, had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.marks[h] != mine: // taken once more meanwhile
	case had:
		t.marks[h] = before
	default:
		delete(t.marks, h)
	}
}

// settle drops the marks of attachments whose records are on the disk, unless they were taken a moment ago: by another
// device, perhaps, whose record is still to come.
func (t *taken) settle(named map[blobHash]uint64, grace time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for h, m := range t.marks {
		if seq, ok := named[h]; ok && seq >= m.after && time.Since(m.at) > grace {
			delete(t.marks, h)
		}
	}
}

// remove deletes an attachment unless it was taken.
func (t *taken) remove(d disk, path string, h blobHash) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.marks[h]; ok {
		return false, nil
	}
	err := d.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// SweepBlobs removes the attachments that no record of the log and no open dead letter names, that were not taken since
// Open for a record that is still to come, and that are older than Options.BlobGrace, by their file's time and since Open. It
// returns how many that were, and their bytes. When it cannot read all of the spool it removes nothing: ErrUnread for what
// is damaged or not described, until retention has deleted it. ErrBusy while a Replay, a Requeue or another sweep is under way. It works beside
// intake and delivery; while it reads, no segment is deleted. Called by the host, about once an hour.
func (s *Spool) SweepBlobs(ctx context.Context) (removed int, freed int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("sweep attachments: %w", err)
		}
	}()
	if s.opt.Describe == nil {
		return 0, 0, ErrDescribe
	}
	if !s.oneSweep.TryLock() { // another one may drop marks for records that this one has not seen
		return 0, 0, ErrBusy
	}
	defer s.oneSweep.Unlock()
	named, err := s.namedBlobs(ctx)
	if err != nil || time.Since(s.opened) < s.opt.BlobGrace {
		return 0, 0, err
	}
	files, err := s.blobFiles(ctx)
	if err != nil {
		return 0, 0, err
	}
	var failed []error
	for _, f := range files {
		if _, ok := named[f.hash]; ok || time.Since(f.made) < s.opt.BlobGrace {
			continue
		}
		if ctx.Err() != nil {
			return removed, freed, ctx.Err()
		}
		gone, err := s.taken.remove(s.disk, f.path, f.hash)
		if err != nil {
			failed = append(failed, err)
		}
		if gone {
			removed++
			freed += f.size
		}
	}
	return removed, freed, diskError("remove", errors.Join(failed...))
}

// namedBlobs collects what records and open letters name, each with the highest number of a record that does.
func (s *Spool) namedBlobs(ctx context.Context) (map[blobHash]uint64, error) {
	s.deleting.Lock()
	defer s.deleting.Unlock()
	named := map[blobHash]uint64{}
	places, err := s.sweepFrom(named)
	unread := 0
	for _, p := range places {
		n, perr := s.index.named(ctx, p, named)
		unread += n
		err = errors.Join(err, perr)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	s.taken.settle(named, s.opt.BlobGrace)
	if unread > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d places of the log", ErrUnread, unread))
	}
	return named, err
}

// sweepFrom reads the letters and then notes where the log stands, while nothing is put in once more: what a letter is
// closed for is in the log by then, and no segment whose records became letters meanwhile is deleted.
func (s *Spool) sweepFrom(named map[blobHash]uint64) ([]place, error) {
	if !s.copies.TryLock() {
		return nil, ErrBusy
	}
	defer s.copies.Unlock()
	err := s.letterBlobs(named)
	return s.places(), err
}

// letterBlobs adds what the open letters name.
func (s *Spool) letterBlobs(named map[blobHash]uint64) error {
	var all []error
	for _, file := range s.dead.list() {
		unread := 0
		whole, err := s.dead.scan(file, func(fr *frame) bool {
			if l, ok := decodeDead(fr); ok && !s.dead.isDone(l.key()) && !s.index.addNamed(l.Payload, named) {
				unread++
			}
			return true
		})
		switch {
		case errors.Is(err, os.ErrNotExist): // all its letters are closed
		case err != nil:
			all = append(all, err)
		case !whole || unread > 0:
			all = append(all, fmt.Errorf("%w: dead letters in %s", ErrUnread, file.name))
		}
	}
	return errors.Join(all...)
}

// addNamed adds the attachments of a payload; false means that it cannot be read.
func (x *indexes) addNamed(payload []byte, named map[blobHash]uint64) bool {
	err := x.described(payload, func(d *Description) error {
		list, err := appendNamed(nil, d.Attachments, 0)
		addNamed(named, list)
		return err
	})
	return err == nil
}

func addNamed(named map[blobHash]uint64, list []byte) {
	for ; len(list) >= namedSize; list = list[namedSize:] {
		h := blobHash(list[:sha256.Size])
		named[h] = max(named[h], binary.LittleEndian.Uint64(list[sha256.Size:]))
	}
}

// named adds the attachments of a segment, and returns how many places of it could not be read.
func (x *indexes) named(ctx context.Context, p place, named map[blobHash]uint64) (unread int, err error) {
	t, err := x.table(ctx, p, new([]byte), func(h *tableHead) bool { return h.named > 0 })
	if err != nil {
		return 0, err
	}
	addNamed(named, t.named)
	return int(t.head.unread), nil
}

// blobFile is one file of the store of attachments.
type blobFile struct {
	hash blobHash
	path string
	size int64
	made time.Time
}

// blobFiles lists the store. Files with other names are not looked at.
func (s *Spool) blobFiles(ctx context.Context) (files []blobFile, err error) {
	for n := range 256 {
		dir := filepath.Join(s.opt.Blobs, fmt.Sprintf("%02x", n))
		infos, err := s.disk.dirs.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, diskError("list", err)
		}
		for _, info := range infos {
			f := blobFile{path: filepath.Join(dir, info.Name()), size: info.Size(), made: info.ModTime()}
			if path, err := s.blobPath(info.Name()); err != nil || path != f.path {
				continue
			}
			if _, err := hex.Decode(f.hash[:], []byte(info.Name())); err == nil {
				files = append(files, f)
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return files, nil
}

// BlobReport is what VerifyBlobs says of the attachments.
type BlobReport struct {
	Named       int      `json:"named"`        // attachments that a record or an open dead letter names
	Bytes       int64    `json:"bytes"`        // of those that are there
	Missing     []string `json:"missing"`      // hashes of those that are not
	Damaged     []string `json:"damaged"`      // hashes of those with another content, or that cannot be read
	Orphans     int      `json:"orphans"`      // files that nobody names; a record may still be on its way to one
	OrphanBytes int64    `json:"orphan_bytes"` // of them
	Unread      int      `json:"unread"`       // places of the spool that cannot be read, and may name more
}

// VerifyBlobs reads all attachments: each that is named must be there and have its hash. ErrDescribe: Options.Describe is
// missing. The end of ctx, and what keeps a file of the spool from being read, is an error, with what was seen so far.
func (i *Inspection) VerifyBlobs(ctx context.Context) (r BlobReport, err error) {
	s := i.s
	if s.opt.Describe == nil {
		return r, fmt.Errorf("verify attachments: %w", ErrDescribe)
	}
	named := map[blobHash]uint64{}
	err = s.dead.open(s)
	if err == nil {
		if err = s.letterBlobs(named); errors.Is(err, ErrUnread) {
			r.Unread, err = r.Unread+1, nil
		}
	}
	for _, p := range i.places() {
		n, perr := s.index.named(ctx, p, named)
		r.Unread += n
		if !errors.Is(perr, fs.ErrNotExist) {
			err = errors.Join(err, perr)
		}
	}
	files, lerr := s.blobFiles(ctx)
	if err = errors.Join(err, lerr); err == nil {
		err = r.hold(ctx, s, named, files)
	}
	if err != nil {
		return r, fmt.Errorf("verify attachments: %w", err)
	}
	return r, nil
}

// hold compares what is named with what is there.
func (r *BlobReport) hold(ctx context.Context, s *Spool, named map[blobHash]uint64, files []blobFile) error {
	r.Named = len(named)
	for _, f := range files {
		if _, ok := named[f.hash]; !ok {
			r.Orphans++
			r.OrphanBytes += f.size
			continue
		}
		delete(named, f.hash)
		r.Bytes += f.size
		if err := s.VerifyBlob(ctx, hex.EncodeToString(f.hash[:])); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.Damaged = append(r.Damaged, hex.EncodeToString(f.hash[:]))
		}
	}
	for h := range named {
		r.Missing = append(r.Missing, hex.EncodeToString(h[:]))
	}
	slices.Sort(r.Missing)
	return nil
}
