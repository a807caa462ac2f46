package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	quarantineDir  = "quarantine"
	maxQuarantined = 1024 // files; more damage is counted and not copied
)

// quarantine keeps a copy of bytes that could not be read, with a report beside each. Nothing waits for it: a copy
// that fails is logged, and the original stays where it is until its segment is deleted.
type quarantine struct {
	dir  string
	disk disk
	log  *slog.Logger

	mu      sync.Mutex
	seen    map[string]bool // guarded by mu: names of what was set aside
	damaged int             // guarded by mu
	torn    int             // guarded by mu
	muted   bool            // nothing is counted or kept: somebody only looks
}

// mute is called before anything else, in place of open.
func (q *quarantine) mute() { q.muted = true }

func (q *quarantine) open(dir string, d disk, log *slog.Logger) error {
	q.dir, q.disk, q.log, q.seen = dir, d, log, map[string]bool{}
	infos, err := d.dirs.List(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if name, ok := strings.CutSuffix(info.Name(), ".bin"); ok {
			q.seen[name] = true
			q.damaged++
		}
	}
	return nil
}

// take sets a damaged range of the file aside, once.
func (q *quarantine) take(src io.ReaderAt, file string, r span) {
	if q.muted {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	name := fmt.Sprintf("%s-%d", file, r.from)
	if q.seen[name] {
		return
	}
	q.seen[name] = true
	q.damaged++
	q.log.Error("damaged bytes set aside", "file", file, "offset", r.from, "bytes", r.to-r.from)
	if len(q.seen) > maxQuarantined {
		return
	}
	report := fmt.Sprintf("file: %s\noffset: %d\nbytes: %d\nreason: checksum or form of a frame is wrong\n", file, r.from, r.to-r.from)
	err := q.copy(name+".bin", io.NewSectionReader(src, r.from, r.to-r.from))
	if err = errors.Join(err, q.copy(name+".txt", strings.NewReader(report))); err != nil {
		q.log.Warn("damaged bytes not copied", "file", file, "err", err)
	}
}

// cut counts a torn end of a file: a group or a letter that nobody was told of.
func (q *quarantine) cut(file string, r span) {
	if q.muted {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.torn++
	q.log.Info("torn end of the log left out", "file", file, "offset", r.from, "bytes", r.to-r.from)
}

func (q *quarantine) counts() (damaged, torn int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.damaged, q.torn
}

func (q *quarantine) copy(name string, r io.Reader) error {
	f, err := q.disk.Open(filepath.Join(q.dir, name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), r)
	return errors.Join(err, f.Sync(), f.Close())
}
