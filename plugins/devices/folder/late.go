package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Limits of the shelf: exams on it (the oldest gives way), and bytes of what stands before an exam's content.
const (
	maxLate     = 1000
	maxLateHead = 64 << 10
)

// lateShelf keeps the exams that went without an attachment, one file each in StateDir/late, until it comes or nobody
// waits any longer. A file is one line of JSON, a lateExam, and then the exam's content as it was; only the line is kept
// in memory.
type lateShelf struct {
	dir   string
	log   *slog.Logger
	items map[key]*lateExam
	full  bool // it was said that the oldest gives way
}

// lateExam says what an exam still waits for.
type lateExam struct {
	Rel   string    `json:"rel"`   // where the exam was: attachments are looked for from there
	Names []string  `json:"names"` // of all attachments; bit n of Mask is of the n-th
	Mask  uint64    `json:"mask"`
	Since time.Time `json:"since"`

	next time.Time // not looked for before
}

func openLate(stateDir string, log *slog.Logger) (*lateShelf, error) {
	l := &lateShelf{dir: filepath.Join(stateDir, "late"), log: log, items: map[key]*lateExam{}}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open shelf of late exams: %w", err)
	}
	list, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("open shelf of late exams: %w", err)
	}
	in := bufio.NewReaderSize(nil, maxLateHead)
	for _, e := range list {
		var k key
		path := filepath.Join(l.dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), unfinished):
			_ = os.Remove(path) // of a crash in writeSynced: nothing relied on it
		case parseKey(e.Name(), &k):
			if l.items[k] = readLate(path, in); l.items[k] == nil {
				delete(l.items, k)
				l.setAside(path, k)
			}
		}
	}
	return l, nil
}

// setAside gives a damaged file another name, under which it is kept and not read.
func (l *lateShelf) setAside(path string, k key) {
	l.log.Error("an exam that waits for an image is damaged: the exam is stored, its late image will not be added", "id", k.String())
	if err := os.Rename(path, path+".bad"); err != nil {
		l.log.Error("set a damaged file aside", "err", sdk.Cause(err), "id", k.String())
	}
}

// readLate reads the head of one file, or gives nil.
func readLate(path string, in *bufio.Reader) *lateExam {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	in.Reset(f)
	head, err := in.ReadSlice('\n')
	if err != nil {
		return nil
	}
	return parseLate(head)
}

// parseLate reads a head; nil is none.
func parseLate(head []byte) *lateExam {
	item := &lateExam{}
	if len(head) > maxLateHead || json.Unmarshal(head, item) != nil {
		return nil
	}
	if len(item.Names) == 0 || len(item.Names) > maxNames || !filepath.IsLocal(item.Rel) {
		return nil
	}
	return item
}

// content is the exam's content, where it is the one of this key.
func (l *lateShelf) content(k key) (*input, error) {
	text, err := os.ReadFile(l.path(k))
	if err != nil {
		return nil, err
	}
	_, data, _ := bytes.Cut(text, []byte("\n"))
	in := &input{data: data, size: int64(len(data)), digest: sha256.Sum256(data)}
	if in.key() != k {
		return nil, errDamaged
	}
	return in, nil
}

var errDamaged = errors.New("content is damaged")

func (l *lateShelf) path(k key) string { return filepath.Join(l.dir, k.String()) }

// add keeps the exam of w. It is on disk when add returns.
func (l *lateShelf) add(w *work) error {
	if l.items[w.key] != nil {
		return nil
	}
	if len(l.items) >= maxLate {
		if err := l.dropOldest(); err != nil {
			return err
		}
	}
	return l.save(w.key, &lateExam{Rel: w.rel, Names: w.names, Mask: w.mask, Since: time.Now().UTC()}, w.late)
}

func (l *lateShelf) save(k key, item *lateExam, content []byte) error {
	head, err := json.Marshal(item)
	if err == nil && len(head) >= maxLateHead {
		err = errors.New("names of images are too long")
	}
	if err == nil {
		err = writeSynced(l.path(k), append(head, '\n'), content)
	}
	if err != nil {
		return fmt.Errorf("keep late exam: %w", err)
	}
	l.items[k] = item
	return nil
}

// update notes which attachments are stored now, and lets go of an exam that has them all.
func (l *lateShelf) update(k key, mask uint64) error {
	item := l.items[k]
	if item == nil || item.Mask|mask == item.Mask {
		return nil
	}
	next := *item
	if next.Mask |= mask; next.complete() {
		return l.drop(k)
	}
	in, err := l.content(k)
	if err != nil {
		return fmt.Errorf("keep late exam: %w", err)
	}
	return l.save(k, &next, in.data)
}

func (e *lateExam) complete() bool { return allBits(e.Mask, len(e.Names)) }

func (l *lateShelf) drop(k key) error {
	delete(l.items, k)
	if err := os.Remove(l.path(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop late exam: %w", err)
	}
	return nil
}

func (l *lateShelf) dropOldest() error {
	if !l.full {
		l.full = true
		l.log.Warn("too many exams wait for late images: the oldest are not looked after any longer", "limit", maxLate)
	}
	var oldest key
	var since time.Time
	for k, item := range l.items {
		if since.IsZero() || item.Since.Before(since) {
			oldest, since = k, item.Since
		}
	}
	return l.drop(oldest)
}

// takeLate adds an amending record to the batch for each exam whose late attachment has come.
func (d *folder) takeLate(ctx context.Context, b *batch) {
	for k, item := range d.late.items {
		if b.full() || ctx.Err() != nil {
			return
		}
		if err := d.amend(ctx, k, item, b); err != nil {
			d.env.Log.Warn("a late image cannot be added now; it is tried again", "err", sdk.Cause(err), "id", k.String())
		}
	}
}

// patience is how soon a late image is looked for again: the longer it has not come, the later.
func patience(waited time.Duration) time.Duration {
	return min(max(waited/16, time.Second), 5*time.Minute)
}

func (d *folder) amend(ctx context.Context, k key, item *lateExam, b *batch) error {
	now, moving := time.Now(), d.images.moving
	switch waited := now.Sub(item.Since); {
	case waited > d.AttachLate:
		return d.late.drop(k)
	case now.Before(item.next):
		return nil
	case !d.anyNew(item):
		if d.images.moving == moving {
			item.next = now.Add(patience(waited))
		}
		return nil
	}
	in, err := d.late.content(k)
	if errors.Is(err, errDamaged) {
		delete(d.late.items, k)
		d.late.setAside(d.late.path(k), k)
		return nil
	} else if err != nil {
		return err
	}
	sent := map[string]bool{}
	for i, name := range item.Names {
		if item.Mask&(1<<i) != 0 {
			sent[name] = true
		}
	}
	r := d.decode(item.Rel, 0, in, sent)
	r.names = item.Names
	return d.addLate(ctx, k, item, r, b)
}

// addLate stages what has come, and makes the records of it.
func (d *folder) addLate(ctx context.Context, k key, item *lateExam, r *reading, b *batch) error {
	s, lost, err := d.stage(ctx, r, item.Mask)
	if err != nil {
		return err
	}
	if len(lost) > 0 || len(s.files) == 0 {
		s.remove()
		return nil
	}
	records, err := d.amendments(r, s)
	if err != nil || len(records) == 0 {
		s.remove()
		return err
	}
	fresh := r.mask(s)
	b.amended = append(b.amended, &work{rel: item.Rel, key: k, mask: item.Mask | fresh, images: r.sent(fresh)})
	b.add(records...)
	return nil
}

func (d *folder) anyNew(item *lateExam) bool {
	for i, name := range item.Names {
		if item.Mask&(1<<i) == 0 {
			if _, ok := d.images.find(item.Rel, name, 0); ok {
				return true
			}
		}
	}
	return false
}
