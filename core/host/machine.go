package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/spool"
)

// The faults of the machine that run meets and check looks for, in the same words. Each is an ErrEnvironment.

func dataFault(path string, cause error) error {
	return Environment(&advised{
		fmt.Errorf("data_dir cannot be written: %w", cause), "give the account that runs hostd the right to write " + path + ", or change data_dir",
	})
}

func logFault(path string, cause error) error {
	return Environment(&advised{
		fmt.Errorf("log file cannot be written: %w", cause),
		"give the account that runs hostd the right to write " + path + " and its folder, or change logging.file.path",
	})
}

func lockFault(data string, cause error) error {
	return Environment(fmt.Errorf("open data folder %s: %w", data, cause))
}

// spoolFault is for everything that opens the spool, also only to look.
func spoolFault(dir string, key []byte, cause error) error {
	switch {
	case !errors.Is(cause, spool.ErrKey):
		return Environment(cause)
	case len(key) == 0:
		return Environment(&advised{
			&sentence{cause, "the spool in " + dir + " is sealed, and spool.key is not given"},
			"write the key that it was sealed with, also when spool.seal is off; nothing was changed",
		})
	default:
		return Environment(&advised{
			&sentence{cause, "the spool in " + dir + " is sealed with another key than spool.key"},
			"put the right one back from your copy; nothing was changed",
		})
	}
}

// advised is an error and what to do about it.
type advised struct {
	error
	do string
}

// Error is both.
func (a *advised) Error() string { return a.error.Error() + "; " + a.do }

// Unwrap gives the error.
func (a *advised) Unwrap() error { return a.error }

// sentence says what an error means for people, in place of its own text.
type sentence struct {
	error
	text string
}

// Error is the sentence.
func (s *sentence) Error() string { return s.text }

// Unwrap gives the error.
func (s *sentence) Unwrap() error { return s.error }

// checkFolders is nil when the data folder and what is in it can be written, or can be made.
func (p *places) checkFolders() error {
	for _, dir := range p.folders() {
		if err := writable(dir); err != nil {
			return dataFault(dir, err) // the others would say the same
		}
	}
	return nil
}

// checkLog is nil when the log file can be written, and its folder, in which it is rolled. An empty path is no file.
func checkLog(path string) error {
	if path == "" {
		return nil
	}
	err := writable(filepath.Dir(path))
	if err == nil {
		err = canOpen(path, os.O_WRONLY|os.O_APPEND)
	}
	if err != nil {
		return logFault(path, err)
	}
	return nil
}

// canOpen is nil when the file can be opened so, or is not there.
func canOpen(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// writable is nil when files can be made and deleted in the folder or, where it is not there, in the one in which it would be
// made. It leaves nothing behind. A full disk is none of its faults: the host starts on one, and says so.
func writable(dir string) error {
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "write into", Path: dir, Err: errors.New("it is not a folder")}
	}
	f, err := os.CreateTemp(dir, ".hostd-check-*")
	if isFull(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Numbers of a full disk on Windows: ERROR_DISK_FULL and ERROR_HANDLE_DISK_FULL.
const (
	windowsDiskFull       = syscall.Errno(112)
	windowsHandleDiskFull = syscall.Errno(39)
)

func isFull(err error) bool {
	if runtime.GOOS == "windows" {
		return errors.Is(err, windowsDiskFull) || errors.Is(err, windowsHandleDiskFull)
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// sqliteHead is how every SQLite file begins.
const sqliteHead = "SQLite format 3\x00"

// checkDatabase is nil when the embedded database is a database and may be written, or is not there. It does not go through
// SQLite, which makes files beside it: they would belong to the account that checks.
func checkDatabase(path string) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := canOpen(name, os.O_RDWR); err != nil {
			return Environment(&advised{fmt.Errorf("database cannot be written: %w", err), "give the account that runs hostd the right to write " + name})
		}
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	head := make([]byte, len(sqliteHead))
	n := 0
	if err == nil {
		n, err = io.ReadFull(f, head)
		err = errors.Join(err, f.Close())
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && string(head) == sqliteHead: // empty: it was never written
		return nil
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		return Environment(&advised{fmt.Errorf("database %s is damaged or is not a database", path), "keep a copy of the file, and put back a backup"})
	}
	return Environment(fmt.Errorf("database cannot be read after %d bytes: %w", n, err))
}

// checkSpool is nil when what is sealed in the spool can be opened with the key of the configuration.
func (p *places) checkSpool(c *config.Config) error {
	key, err := c.Spool.KeyBytes()
	if err != nil {
		return nil // a fault of the configuration, told as such
	}
	i, err := spool.Inspect(p.spool, spool.Options{Key: key, Blobs: p.blobs})
	if err == nil {
		for _, err = range i.DeadLetters("") {
			break // the first tells whether they can be opened
		}
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return spoolFault(p.spool, key, err)
}

// lockWait is how long a start waits for the lock: a check that looks at it, and a host that has just ended, let it go.
const lockWait = time.Second

// takeLock takes the data folder for this process. The error is about the machine.
func (p *places) takeLock(ctx context.Context) (io.Closer, error) {
	pause := life.Backoff{First: 20 * time.Millisecond, Longest: 200 * time.Millisecond}
	for end := time.Now().Add(lockWait); ; {
		f, err := tryLock(p.lock)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, ErrLocked) || time.Now().After(end) || pause.Wait(ctx) != nil {
			return nil, lockFault(p.data, err)
		}
	}
}

// isLocked makes an answer of a try to take a lock.
func isLocked(f io.Closer, err error) (bool, error) {
	switch {
	case err == nil:
		return false, f.Close()
	case errors.Is(err, ErrLocked):
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, err
}
