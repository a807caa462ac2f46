package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	lockName   = ".hostd-file.lock"
	namePrefix = "hostd-"
	nameSuffix = ".ndjson"
	nameTime   = "20060102T150405Z"
	nameDigits = 6
	fileMode   = 0o640
	dirMode    = 0o750
)

// handle is an open file. Sync returns when the bytes and the size are on the disk.
type handle interface {
	io.Writer
	io.Closer
	Truncate(size int64) error
	Sync() error
}

type diskFile struct{ *os.File }

// Sync is fdatasync where there is one.
func (f diskFile) Sync() error { return datasync(f.File) }

// openHandle opens a file for appending. It is not O_APPEND, which on Windows takes the right to cut.
func openHandle(path string, flag int) (handle, error) {
	f, err := os.OpenFile(path, os.O_RDWR|flag, fileMode)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return diskFile{f}, nil
}

// archive is the row of files. Up to size the newest one is on the disk, and ends with a newline; a part behind it
// exists only during Append, or after a crash, and belongs to a batch that nobody was told is written.
type archive struct {
	dir     string
	maxSize int64
	maxAge  time.Duration
	open    func(path string, flag int) (handle, error)
	log     *slog.Logger

	lock   io.Closer
	last   name   // the newest there ever was, so that the next one sorts behind it
	file   handle // nil: the next Append begins one
	path   string // of file
	ident  fs.FileInfo
	born   time.Time // of file
	size   int64     // of file, synced
	broken *remnant  // nil: none
}

// remnant is a file that ends with parts of a batch that failed, and could not be cut when it did.
type remnant struct {
	path string
	size int64 // to which it must be cut; at 0 it is removed
}

// Open takes the folder and goes on in its newest file.
func (a *archive) Open() error {
	if err := makeDirs(a.dir); err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(a.dir, lockName))
	if err != nil {
		return err
	}
	a.lock = lock
	if err := probe(a.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n, ok := parseName(e.Name()); ok && e.Type().IsRegular() && a.last.before(n) {
			a.last = n
		}
	}
	if a.last.n == 0 {
		return nil
	}
	return a.resume()
}

// makeDirs makes the folder and those above it, durably.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if above == dir {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err := makeDirs(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// probe finds out whether files can be made here.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".hostd-probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// resume opens the newest file behind its last whole line. What follows is the torn tail of a batch that was never
// answered (its records come again), since an answered one ends with a newline; that includes the zeros that some file systems
// leave there after a power cut, also in the place of single sectors.
func (a *archive) resume() error {
	a.path = filepath.Join(a.dir, a.last.String())
	size, torn, err := wholeLines(a.path)
	if errors.Is(err, fs.ErrPermission) {
		a.log.Warn("newest file cannot be read, a new one is begun", "file", a.last.String())
		return nil
	}
	if err != nil {
		return err
	}
	if torn > 0 {
		a.log.Warn("torn line of a crash is cut off", "file", a.last.String(), "bytes", torn)
		if err := a.cut(a.path, size); err != nil {
			return err
		}
	}
	f, err := a.open(a.path, 0)
	if errors.Is(err, fs.ErrPermission) {
		a.log.Warn("newest file cannot be written, a new one is begun", "file", a.last.String())
		return nil
	}
	if err != nil {
		return err
	}
	a.born = a.last.at
	if now := time.Now(); a.born.After(now) {
		a.born = now // a clock that was put back
	}
	return a.take(f, size)
}

// wholeLines measures the file up to its last newline, and what follows.
func wholeLines(path string) (size, torn int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 64<<10)
	for to := end; to > 0; {
		from := max(0, to-int64(len(buf)))
		part := buf[:to-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			size, err = written(f, from+int64(i)+1)
			return size, end - size, err
		}
		to = from
	}
	return 0, end, nil
}

const (
	sector    = 512      // bytes that a disk writes whole or not at all
	lastBatch = 64 << 20 // bytes of a batch at most
)

// written gives the start of the first line that lacks a sector, or the end where none does. Lines hold no zeros of their own, so
// that a sector of them, or what a line that begins in it has of it, never reached the disk; only the last batch can lack one.
func written(f io.ReaderAt, end int64) (int64, error) {
	begin := max(0, end-lastBatch) / sector * sector
	line, buf := begin, make([]byte, sector)
	in := bufio.NewReaderSize(io.NewSectionReader(f, begin, end-begin), 64<<10)
	for at := begin; at < end; at += sector {
		part := buf[:min(sector, end-at)]
		if _, err := io.ReadFull(in, part); err != nil {
			return 0, err
		}
		own := max(0, line-at) // where the last line begins, if it is in this sector
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			own, line = int64(i)+1, at+int64(i)+1
		}
		if rest := part[own:]; len(rest) > 0 && len(bytes.Trim(rest, "\x00")) == 0 {
			return line, nil
		}
	}
	return end, nil
}

func (a *archive) take(f handle, size int64) error {
	ident, err := os.Stat(a.path)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.file, a.ident, a.size = f, ident, size
	return nil
}

// Append writes lines with one call and one sync. On an error none of them is in a file, or goes on to be: where the
// disk does not even take the cut, every later Append tries it first.
func (a *archive) Append(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if err := a.mend(); err != nil {
		return err
	}
	if a.file != nil && a.due(len(lines)) {
		if err := a.let(); err != nil {
			return err
		}
	}
	if a.file == nil {
		if err := a.begin(); err != nil {
			return err
		}
	}
	_, err := a.file.Write(lines)
	if err == nil {
		err = a.file.Sync() // Rule 18: synced before it is answered
	}
	if err != nil {
		return a.abandon(err)
	}
	a.size += int64(len(lines))
	return nil
}

// due says whether n more bytes belong into a new file: this one is full, old, or no longer in the folder, where bytes
// would go nowhere.
func (a *archive) due(n int) bool {
	if a.size > 0 && a.size+int64(n) > a.maxSize || a.maxAge > 0 && time.Since(a.born) >= a.maxAge {
		return true
	}
	now, err := os.Stat(a.path)
	return err != nil || !os.SameFile(a.ident, now)
}

// begin makes the next file, whose name is on the disk before anything is in it.
func (a *archive) begin() error {
	now := time.Now()
	next := a.last.next(now)
	path := filepath.Join(a.dir, next.String())
	f, err := a.open(path, os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrNotExist) { // the folder was taken away
		if err = makeDirs(a.dir); err == nil {
			f, err = a.open(path, os.O_CREATE|os.O_EXCL)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		a.last = next
	}
	if err != nil {
		return err
	}
	if err := syncDir(a.dir); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	a.last, a.path, a.born = next, path, now
	return a.take(f, 0)
}

// abandon ends the file where it was synced last. After a failed sync nobody knows what of the newer bytes the disk
// has, and a later sync would not say it either, so the file is not used again.
func (a *archive) abandon(cause error) error {
	a.broken = &remnant{path: a.path, size: a.size}
	err := a.file.Truncate(a.size)
	if err == nil {
		err = a.file.Sync()
	}
	if err == nil && a.size > 0 {
		a.broken = nil
	}
	cause = errors.Join(cause, a.let())
	if err := a.mend(); err != nil {
		return fmt.Errorf("%w (what it left cannot be cut off yet: %w)", cause, err)
	}
	return cause
}

// mend cuts off what a failed batch left, if it could not be done when it failed.
func (a *archive) mend() error {
	if a.broken == nil {
		return nil
	}
	var err error
	if a.broken.size == 0 {
		err = os.Remove(a.broken.path)
	} else {
		err = a.cut(a.broken.path, a.broken.size)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.broken = nil
	return nil
}

func (a *archive) cut(path string, size int64) error {
	f, err := a.open(path, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// let closes the file, all of which is synced or cut.
func (a *archive) let() error {
	f := a.file
	a.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// Close gives the folder back. It is safe after a failed Open.
func (a *archive) Close() error {
	err := a.let()
	if a.lock != nil {
		err = errors.Join(err, a.lock.Close())
		a.lock = nil
	}
	return err
}

// name is a file's name: when it was begun, and a number that tells those of one second apart.
type name struct {
	at time.Time
	n  int
}

// next is the name of a file that is begun now. It sorts behind, even if the clock was put back.
func (n name) next(now time.Time) name {
	if now = now.UTC().Truncate(time.Second); now.After(n.at) {
		return name{at: now, n: 1}
	}
	return name{at: n.at, n: n.n + 1}
}

func (n name) before(o name) bool { return n.at.Before(o.at) || n.at.Equal(o.at) && n.n < o.n }

func (n name) String() string {
	return fmt.Sprintf("%s%s-%0*d%s", namePrefix, n.at.Format(nameTime), nameDigits, n.n, nameSuffix)
}

// parseName reads what String made, and nothing else.
func parseName(s string) (name, bool) {
	body, ok := strings.CutPrefix(s, namePrefix)
	if !ok {
		return name{}, false
	}
	if body, ok = strings.CutSuffix(body, nameSuffix); !ok {
		return name{}, false
	}
	at, number, _ := strings.Cut(body, "-")
	t, err := time.Parse(nameTime, at)
	if err != nil {
		return name{}, false
	}
	n, err := strconv.Atoi(number)
	parsed := name{at: t, n: n}
	return parsed, err == nil && n > 0 && parsed.String() == s
}
