package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostd/hostd/core/internal/spool"
)

// existing is the folder or, where it is not there, the nearest one above that is.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// folders looks at the data folder, the host's own files in it, and the plugin folder.
func (dr *doctor) folders(context.Context) (list []Finding) {
	p := &dr.places
	err := p.checkFolders()
	for _, name := range []string{p.token, p.audit, p.paused, p.indexKeyFile} {
		if err == nil {
			if err = canOpen(name, os.O_RDWR); err != nil {
				err = dataFault(name, err)
			}
		}
	}
	if err != nil {
		list = append(list, faulty(probeFolder, p.data, err, "")) // it has its own advice
	} else {
		list = append(list, ok(probeFolder, p.data, "data_dir can be written, or made"))
	}
	if _, err := os.ReadDir(p.plugins); err != nil {
		return append(list, faulty(probeFolder, p.plugins, fmt.Errorf("plugins.dir cannot be read: %w", err),
			"write the folder with the plugins' programs as plugins.dir, and let the account that runs hostd read it"))
	}
	return append(list, ok(probeFolder, p.plugins, "plugins.dir can be read"))
}

// rights looks who else may put a program into the plugin folder, where all that lies there is trusted.
func (dr *doctor) rights(ctx context.Context) (list []Finding) {
	if dr.cfg.Plugins.Trust != "folder" {
		return nil
	}
	dir := dr.places.plugins
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the probe of folders says why
	}
	paths := []string{dir}
	for _, e := range entries {
		if e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	for _, path := range paths {
		if ctx.Err() != nil {
			break // that it took too long is told
		}
		who, err := writers(path)
		if err != nil {
			list = append(list, Finding{
				probeRights, path, VerdictWarning, "who may write it cannot be read: " + err.Error(), "run doctor under the account that owns it",
			})
		} else if len(who) > 0 {
			list = append(list, Finding{
				probeRights, path, VerdictWarning,
				"it may be written by " + strings.Join(who, ", ") + ": with plugins.trust folder, what lies there runs with the rights of hostd",
				"leave the right to write to administrators and to whoever installs plugins",
			})
		}
	}
	if len(list) == 0 {
		list = append(list, ok(probeRights, dir, "ordinary users may write neither the folder nor a program in it"))
	}
	return list
}

func (dr *doctor) log(context.Context) []Finding {
	path := dr.cfg.Logging.File.Path
	if err := checkLog(path); err != nil {
		return []Finding{faulty(probeLog, path, err, "")} // it has its own advice
	}
	if path == "" {
		return []Finding{ok(probeLog, "", "there is no log file: logging.file.path is empty")}
	}
	return []Finding{ok(probeLog, path, "it can be written")}
}

// spool looks whether the spool's files can be read, and opened with the key.
func (dr *doctor) spool(context.Context) []Finding {
	if err := dr.places.checkSpool(dr.cfg); err != nil {
		return []Finding{faulty(probeSpool, dr.places.spool, err,
			"give the account that runs hostd the right to read and write all files there; where its disk fails, hostd spool verify says what is damaged")}
	}
	return []Finding{ok(probeSpool, dr.places.spool, "its files can be opened")}
}

// Bounds of a clock that can be right: before the first there was no hostd.
var (
	clockFirst = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	clockLast  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// clockSlack is what a clock may be put back without a word.
const clockSlack = time.Minute

// clock looks whether the time of now can be right, by itself and by the last record of the spool.
func (dr *doctor) clock(ctx context.Context, now time.Time) []Finding {
	const do = "put this computer's clock and time zone right, and have it set over the network; a clock that forgets the time when the power is off needs a new battery"
	said := now.Format(time.RFC3339)
	if now.Before(clockFirst) || now.After(clockLast) {
		return []Finding{{probeClock, "", VerdictFault, "the clock of this computer says " + said + ", which cannot be", do}}
	}
	last, err := dr.lastRecord(ctx)
	if err != nil {
		return []Finding{{
			probeClock, "", VerdictWarning, "the clock says " + said + "; it cannot be compared with the last record: " + err.Error(),
			"see what the probe " + probeSpool + " says",
		}}
	}
	if last.Sub(now) > clockSlack {
		return []Finding{{
			probeClock, "", VerdictFault,
			fmt.Sprintf("the clock of this computer says %s, and the last record was received %s later, at %s", said, last.Sub(now).Round(time.Second), last.Local().Format(time.RFC3339)), do,
		}}
	}
	return []Finding{ok(probeClock, "", "it says %s, and no record is later", said)}
}

// lastRecord is when the last record of the spool was received, zero where there is none.
func (dr *doctor) lastRecord(ctx context.Context) (time.Time, error) {
	i, err := inspect(dr.cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return i.Latest(ctx)
}

// leastFree is room below which nothing works, in bytes.
const leastFree = 1 << 20

// disk looks for the room that the spool's reserve, its next file and its cap want.
func (dr *doctor) disk(context.Context) (list []Finding) {
	s, p := &dr.cfg.Spool, &dr.places
	held, reserved, err := spool.Held(p.spool)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		list = append(list, faulty(probeDisk, p.spool, err, "let the account that runs hostd read the folder"))
	}
	subject := existing(p.data)
	const do = "make room on the disk of data_dir, or move data_dir to a larger one; hostd takes records again by itself"
	free, err := freeSpace(subject)
	switch missing := mib(s.ReserveMB) - reserved; {
	case err != nil:
		list = append(list, faulty(probeDisk, subject, fmt.Errorf("its free space cannot be read: %w", err), "see whether the disk is there"))
	case free < max(missing, leastFree):
		list = append(list, Finding{
			probeDisk, subject, VerdictFault,
			fmt.Sprintf("%s are free: spool.reserve_mb wants %s, and no records are taken without it", size(free), size(mib(s.ReserveMB))), do,
		})
	case free < missing+mib(s.SegmentSizeMB):
		list = append(list, Finding{
			probeDisk, subject, VerdictWarning,
			fmt.Sprintf("%s are free: that is less than the reserve and the next file of the spool want", size(free)), do,
		})
	case s.MaxSizeMB > 0 && free+held < mib(s.MaxSizeMB):
		list = append(list, Finding{
			probeDisk, subject, VerdictWarning,
			fmt.Sprintf("%s are free: while a sink is away, the disk is full before the spool is at its %s (spool.max_size_mb), of which it has %s", size(free), size(mib(s.MaxSizeMB)), size(held)),
			"make room, or write a smaller spool.max_size_mb",
		})
	default:
		list = append(list, ok(probeDisk, subject, "%s are free", size(free)))
	}
	return append(list, dr.cap(held)...)
}

// cap looks how near the spool is to its cap.
func (dr *doctor) cap(held int64) []Finding {
	limit := mib(dr.cfg.Spool.MaxSizeMB)
	if limit == 0 || held < limit/100*80 {
		return nil
	}
	f := Finding{
		probeDisk, dr.places.spool, VerdictWarning, fmt.Sprintf("the spool holds %s of the %s of spool.max_size_mb", size(held), size(limit)),
		"hostd status names the sink for which most records wait, and why it takes none; mend that, or write a larger spool.max_size_mb",
	}
	if held >= limit {
		f.Verdict, f.Text = VerdictFault, f.Text+": when nothing in it can be deleted, devices are told that no more is taken"
	}
	return []Finding{f}
}

// size shows bytes for people.
func size(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// socketName is as long as the longest name that a plugin gives its socket, and socketPath as long as a path of one may be.
const (
	socketName = "/plugin4294967295"
	socketPath = 103
)

// sockets looks where plugins will listen for the host.
func (dr *doctor) sockets(context.Context) []Finding {
	dir := dr.places.sockets
	if len(dir)+len(socketName) > socketPath {
		return []Finding{{
			probeLink, dir, VerdictFault, fmt.Sprintf("the path of the plugins' sockets is too long: with their names it has more than %d bytes", socketPath),
			"start hostd with a shorter TMPDIR, such as /tmp",
		}}
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = writable(filepath.Dir(dir))
	case err == nil && !info.IsDir():
		err = &fs.PathError{Op: "use", Path: dir, Err: errors.New("it is not a folder")}
	case err == nil:
		err = writable(dir)
	}
	if err != nil {
		return []Finding{faulty(probeLink, dir, fmt.Errorf("plugins cannot make their sockets: %w", err),
			"delete "+dir+" where a host of another account has left it, and let the account that runs hostd write "+filepath.Dir(dir))}
	}
	return []Finding{ok(probeLink, dir, "plugins can make their sockets there")}
}
