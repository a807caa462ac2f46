package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/hostd/hostd/config"
)

// ErrLocked is a data folder that another hostd uses.
var ErrLocked = errors.New("another hostd uses it: end that one, or change data_dir")

// ErrEnvironment is what errors about the machine are, not about the configuration: folders, ports, rights. See Environment.
var ErrEnvironment = errors.New("environment")

// Environment makes err one about the machine, with its own text; nil stays nil.
func Environment(err error) error {
	if err == nil {
		return nil
	}
	return &ofMachine{err}
}

type ofMachine struct{ error }

// Is makes it an ErrEnvironment.
func (e *ofMachine) Is(target error) bool { return target == ErrEnvironment }

// Unwrap gives the error.
func (e *ofMachine) Unwrap() error { return e.error }

// places are the host's folders and files, as full paths.
type places struct {
	data, spool, blobs, state, staging, database, token, lock, audit, paused, renaming, indexKeyFile, pluginStore string

	plugins string
	sockets string // of the plugins; short, since the path of a Unix socket is at most about 100 bytes
}

func newPlaces(c *config.Config) (places, error) {
	data, err := filepath.Abs(c.DataDir)
	if err != nil {
		return places{}, Environment(fmt.Errorf("find data_dir: %w", err))
	}
	plugins, err := filepath.Abs(c.Plugins.Dir)
	if err != nil {
		return places{}, Environment(fmt.Errorf("find plugins.dir: %w", err))
	}
	sum := sha256.Sum256([]byte(data))
	in := func(name string) string { return filepath.Join(data, name) }
	return places{
		data: data, spool: in("spool"), blobs: in("blobs"), state: in("state"), staging: in("staging"),
		database: in("hostd.db"), token: in("admin.token"), lock: in("hostd.lock"),
		audit: in("audit.ndjson"), paused: in("paused.json"), renaming: in("renaming.json"), indexKeyFile: in("index.key"), pluginStore: in("plugins"),
		plugins: plugins, sockets: filepath.Join(os.TempDir(), "hostd-"+hex.EncodeToString(sum[:6])),
	}, nil
}

// make makes the folders for the service's account alone.
func (p *places) make() error {
	for _, dir := range p.folders() {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return dataFault(dir, err)
		}
	}
	return nil
}

// folders are those that the host must be able to write, the data folder first.
func (p *places) folders() []string {
	return []string{p.data, p.spool, p.blobs, p.state, p.staging, p.pluginStore}
}

// startFolder is how the name of the folder begins in which run asks the plugins before it has the lock. It is of this data
// folder, and short.
func (p *places) startFolder() string {
	return checkFolder + strings.TrimPrefix(filepath.Base(p.sockets), "hostd-")[:6] + "-"
}

// emptySockets makes the folder anew: who is killed leaves sockets behind, a host that was about to start, too. The last
// folder is made, not only found, so that it belongs to this account.
func (p *places) emptySockets() error {
	sweepChecks(p.startFolder(), time.Now())
	if err := p.removeSockets(); err != nil {
		return Environment(err)
	}
	if err := os.Mkdir(p.sockets, 0o700); err != nil {
		return Environment(fmt.Errorf("make folder for the plugins' sockets: %w", err))
	}
	return nil
}

func (p *places) removeSockets() error {
	if err := os.RemoveAll(p.sockets); err != nil {
		return fmt.Errorf("empty folder of the plugins' sockets: %w", err)
	}
	return nil
}

// stagingOf is where a device puts its attachments; on the file system of the blobs, since they move by rename.
func (p *places) stagingOf(device string) string { return filepath.Join(p.staging, device) }

// stateOf is the folder of a device's or sink's own.
func (p *places) stateOf(kind, name string) string { return filepath.Join(p.state, kind, name) }

// program is the path of a plugin's binary. An error is fs.ErrNotExist where there is none.
func (p *places) program(plugin string) (string, error) {
	path := filepath.Join(p.plugins, plugin)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return path, err
}
