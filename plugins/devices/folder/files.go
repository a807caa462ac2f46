package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unfinished begins the names of files that writeSynced has not finished.
const unfinished = "new-"

// writeSynced replaces the file at path by one that is whole and on disk.
func writeSynced(path string, parts ...[]byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), unfinished+"*")
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err == nil {
			_, err = f.Write(part)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error says more than this one would
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last. Windows has no such call, and journals renames by itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// moveFile moves from into dir under a name that is free there, with note in a file beside it. A file that is gone is
// moved: nil. One that is not the file with this stamp stays where it is: errChanged.
func moveFile(from, dir string, st stamp, note []byte) error {
	if err := isStill(from, st); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	to, err := freeName(dir, filepath.Base(from), time.Now())
	if err != nil {
		return err
	}
	if note != nil {
		if err := os.WriteFile(to+".reason.txt", note, 0o644); err != nil {
			return err
		}
	}
	if err = os.Rename(from, to); isOtherVolume(err) {
		return copyAway(from, to, st)
	} else if err != nil {
		return err
	}
	return undoIfChanged(from, to, st)
}

// isStill is nil where the file at path has the stamp, and errChanged where it has another.
func isStill(path string, st stamp) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if stampOf(info) != st {
		return errChanged
	}
	return nil
}

// undoIfChanged brings back a file that somebody replaced between the look and the move: that content is not stored.
func undoIfChanged(from, to string, st stamp) error {
	if err := isStill(to, st); !errors.Is(err, errChanged) {
		return nil
	}
	back, err := freeName(filepath.Dir(from), filepath.Base(from), time.Now())
	if err == nil {
		err = os.Rename(to, back)
	}
	if err != nil {
		return err
	}
	return errChanged
}

// freeName is a path in dir for a file called name. A name that is taken gets the time before its ending, and a number
// where that is taken, too: an instrument may use one name for all its files, and looking must stay quick.
func freeName(dir, name string, now time.Time) (string, error) {
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	try := name
	for n := 1; n < 10_000; n++ {
		path := filepath.Join(dir, try)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
		try = stem + "." + now.Format("20060102-150405")
		if n > 1 {
			try += "." + strconv.Itoa(n)
		}
		try += ext
	}
	return "", errors.New("find a free name: 10,000 files of the same name in one second")
}

func isOtherVolume(err error) bool {
	const notSameDevice = 17 // ERROR_NOT_SAME_DEVICE
	var errno syscall.Errno
	return errors.As(err, &errno) && (errno == syscall.EXDEV || runtime.GOOS == "windows" && errno == notSameDevice)
}

// copyAway moves across volumes: the copy is synced and has its name before the original goes. The original first gets a
// name under which nobody writes, so that what is removed is what was looked at.
func copyAway(from, to string, st stamp) error {
	if err := copySynced(from, to, st); err != nil {
		return err
	}
	aside := from + ".hostd-moved"
	err := os.Rename(from, aside)
	if err == nil {
		err = undoIfChanged(from, aside, st)
	}
	if err == nil {
		if err = os.Remove(aside); err != nil {
			err = errors.Join(err, os.Rename(aside, from))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(to) // the original is still there, and is tried again
		return err
	}
	return nil
}

// copySynced makes a copy that is whole and on disk when it has its name.
func copySynced(from, to string, st stamp) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := unchanged(in, st); err != nil {
		return err
	}
	part := to + ".part"
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = unchanged(in, st)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		_ = os.Remove(part) // one that stays is overwritten by the next try
		return err
	}
	return syncDir(filepath.Dir(to))
}
