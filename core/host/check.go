package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/pluginstore"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/sdk"
)

// Limits of asking plugins for their manifests.
const (
	describeTime = 6 * time.Second // for all of them; a first start after a copy may be slow, and is checked at its Open then
	describers   = 2               // at a time: each start costs a key pair
)

// HoldPlugins makes every plugin that is started from now on end with this process. Main calls it once, before Check,
// CheckPlugins and Host.Run, and release at the end. It replaces os.Stdin.
func HoldPlugins() (release func(), err error) { return supervise.HoldPlugins() }

// Checked is what Check has found.
type Checked struct {
	Faults      error    // of the configuration: config.Faults, or nil
	Environment []error  // faults of the machine, a sentence each; each is an ErrEnvironment
	Notes       []string // what is no fault, and worth a word
	Proposals   []Proposal

	database error // what is wrong with it; is among Environment
}

// Proposal is what would mend what a sink has found, for a person to read and to run or not: hostd never does.
type Proposal struct {
	Sink string `json:"sink"`
	Text string `json:"text"` // such as a CREATE TABLE
}

// Check compares the configuration with the plugins that are there, and looks whether run would find on this machine what it
// needs: the data folder, its lock, the log, the port, the database, the spool's key. Then each sink that can looks whether the
// database has what its settings want. It changes nothing, and leaves alone what a running host uses.
func Check(ctx context.Context, c *config.Config) (f Checked) {
	p, err := newPlaces(c)
	if err != nil {
		f.Environment = append(f.Environment, err)
		return f
	}
	d, err := newDescriber(&p, c, checkFolder)
	if err != nil {
		f.Environment = append(f.Environment, err)
		return f
	}
	f.Environment, f.Faults = d.check(ctx, c)
	f.machine(ctx, c, &p)
	f.sinks(ctx, c, d)
	f.add(d.close())
	return f
}

func (f *Checked) add(err error) {
	if err != nil {
		f.Environment = append(f.Environment, err)
	}
}

// machine looks for what run needs.
func (f *Checked) machine(ctx context.Context, c *config.Config, p *places) {
	add := f.add
	add(p.checkFolders())
	add(checkLog(c.Logging.File.Path))
	running, err := locked(p.lock)
	if err != nil {
		add(lockFault(p.data, err))
	}
	add(p.checkPort(ctx, c))
	add(p.checkSpool(c))
	if running {
		f.Notes = append(f.Notes, fmt.Sprintf("hostd runs with data_dir %s already: it has the lock, the port and the database, and that is no fault", p.data))
	} else if c.Database.Embedded() {
		f.database = checkDatabase(p.database)
	}
	if !c.Database.Embedded() {
		f.database = p.checkServer(ctx, c)
	}
	add(f.database)
}

// checkServer is nil when the server of the database lets the host in.
func (p *places) checkServer(ctx context.Context, c *config.Config) error {
	d := &c.Database
	if d.DSN == "" || !slices.Contains(config.Drivers(), d.Driver) {
		return nil // or a fault of the configuration, told as such
	}
	return Environment(dbpool.Probe(ctx, databaseOptions(c, p)))
}

// checkPort is nil when admin.listen can be had, or the host that runs with the same data folder has it.
func (p *places) checkPort(ctx context.Context, c *config.Config) error {
	err := admin.CheckPort(ctx, c.Admin.Listen)
	if err == nil || errors.Is(err, admin.ErrListen) && p.isOurs(ctx, c) {
		return nil
	}
	return Environment(err)
}

// isOurs says whether the host at admin.listen is the one of this data folder.
func (p *places) isOurs(ctx context.Context, c *config.Config) bool {
	s, err := Status(ctx, c)
	return err == nil && s.DataDir == p.data
}

// CheckPlugins is the part of Check that run does before it starts: what cannot be found out now is found out, and
// tried again, by the device or sink itself.
func CheckPlugins(ctx context.Context, c *config.Config) error {
	p, err := newPlaces(c)
	if err != nil {
		return err
	}
	d, err := newDescriber(&p, c, p.startFolder())
	if err != nil {
		return nil // of the machine, as everything that keeps a plugin from starting: its device's failure, not the host's
	}
	d.brief = true
	_, faults := d.check(ctx, c)
	_ = d.close() // a folder that stays is the system's to empty
	return faults
}

// newDescriber makes a describer, with a folder for sockets whose name begins like that; close gives back what it took.
func newDescriber(p *places, c *config.Config, folder string) (*describer, error) {
	quiet, err := logs.Open(config.Logging{Level: "error", Format: c.Logging.Format}, nil)
	if err != nil {
		return nil, Environment(fmt.Errorf("open log: %w", err))
	}
	d := &describer{places: p, logs: quiet, trust: c.Plugins.Trust, memory: memory(c, 0), found: map[string]described{}}
	sweepChecks(checkFolder, time.Now().Add(-longCheck))
	if d.sockets, err = os.MkdirTemp("", folder); err != nil {
		return nil, Environment(errors.Join(fmt.Errorf("make folder for sockets: %w", err), quiet.Close()))
	}
	return d, nil
}

const (
	checkFolder = "hostd-check-" // in the temporary folder, since the path of a socket must be short
	longCheck   = time.Hour      // no check takes so long
)

// sweepChecks deletes the folders of checks that were killed: those whose name begins like that and that are older. One that
// cannot be deleted is another account's.
func sweepChecks(name string, older time.Time) {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), name+"*"))
	if err != nil {
		return // the pattern is good
	}
	for _, dir := range left {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.ModTime().Before(older) {
			_ = os.RemoveAll(dir)
		}
	}
}

func (d *describer) close() error {
	return Environment(errors.Join(os.RemoveAll(d.sockets), d.logs.Close()))
}

// check asks the plugins for their manifests: what keeps one from starting is of the machine.
func (d *describer) check(ctx context.Context, c *config.Config) (environment []error, faults error) {
	d.all(ctx, pluginsOf(c))
	faults = c.CheckPlugins(d.manifest, d.places.known())
	for _, name := range d.names {
		if f := d.found[name]; f.started && f.err != nil {
			environment = append(environment, Environment(fmt.Errorf("plugin %s: %w", name, f.err)))
		}
	}
	return environment, faults
}

// known are the names of the programs in the plugin folder, and of those that were taken from there, sorted.
func (p *places) known() []string {
	names := pluginstore.Peek(p.pluginStore)
	entries, err := os.ReadDir(p.plugins)
	if err != nil {
		return names // each plugin is reported as missing then
	}
	for _, e := range entries {
		if name := pluginstore.NameOf(e); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// runs is the path of the binary that a host would run now: where the folder is trusted, and nobody else can write there, that in the folder;
// else, and where there is none, the copy that was taken. The error is config.ErrUnchecked where a binary waits for that: it is not started.
func (p *places) runs(trust, name string) (string, error) {
	path, err := p.program(name)
	var loose error
	if err == nil && trust == pluginstore.Folder {
		if loose = pluginstore.Loose(writers, p.plugins, path); loose == nil {
			return path, nil
		}
	}
	if taken := pluginstore.PeekProgram(p.pluginStore, name); taken != "" {
		return taken, nil
	}
	if loose != nil {
		return "", fmt.Errorf("%w: %s: %w", config.ErrUnchecked, name, loose)
	}
	if err == nil {
		return "", fmt.Errorf("%w: %s was not taken into the plugin store yet, which hostd run does where it is trusted", config.ErrUnchecked, name)
	}
	return "", fmt.Errorf("there is no plugin %s in %s", name, p.plugins)
}

// describer asks each plugin of a configuration for its manifest once.
type describer struct {
	places  *places
	logs    *logs.Logs
	sockets string
	trust   string
	brief   bool  // what was taken, and has not changed since, is not asked again
	memory  int64 // of a plugin
	names   []string

	mu    sync.Mutex
	found map[string]described // guarded by mu: by plugin
}

type described struct {
	manifest sdk.Manifest
	started  bool // there is a binary, and it was started, or may not be
	err      error
}

// pluginsOf are the plugins that a configuration names.
func pluginsOf(c *config.Config) (names []string) {
	for i := range c.Devices {
		names = append(names, c.Devices[i].Plugin)
	}
	for i := range c.Sinks {
		names = append(names, c.Sinks[i].Plugin)
	}
	return names
}

// all asks the plugins of these names, each once.
func (d *describer) all(ctx context.Context, names []string) {
	d.names = slices.Clone(names)
	d.names = slices.DeleteFunc(d.names, func(n string) bool { return n == "" || filepath.Base(n) != n }) // faults, told elsewhere
	slices.Sort(d.names)
	d.names = slices.Compact(d.names)
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	d.each(ctx, d.names, func(ctx context.Context, name string) { d.put(name, d.describe(ctx, name)) })
}

// each calls do for each name, some at a time.
func (d *describer) each(ctx context.Context, names []string, do func(ctx context.Context, name string)) {
	todo := make(chan string, len(names))
	for _, n := range names {
		todo <- n
	}
	close(todo)
	g := life.NewGroup(ctx)
	for range describers {
		g.Go("describe", func(ctx context.Context) error {
			for name := range todo {
				do(ctx, name)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		d.logs.Logger("host").Error("bug in hostd", "err", err)
	}
}

func (d *describer) put(name string, f described) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found[name] = f
}

func (d *describer) describe(ctx context.Context, name string) (f described) {
	if d.brief {
		if m, known := pluginstore.PeekManifest(d.places.pluginStore, d.places.plugins, name); known {
			return described{manifest: m, started: true}
		}
	}
	path, err := d.places.runs(d.trust, name)
	if err != nil {
		f.err, f.started = err, errors.Is(err, config.ErrUnchecked)
		return f
	}
	f.started = true
	f.manifest, f.err = d.manifestOf(ctx, d.program(name, path))
	return f
}

// manifestOf starts a binary for a moment, and gives what it says of itself.
func (d *describer) manifestOf(ctx context.Context, p supervise.Program) (m sdk.Manifest, err error) {
	err = supervise.Run(ctx, p, func(_ context.Context, proc *supervise.Process) error {
		m = proc.Manifest
		return nil
	})
	if err == nil && m.Name != p.Name {
		err = fmt.Errorf("%s calls itself %q: the binary must have the plugin's own name", filepath.Base(p.Path), m.Name)
	}
	return m, err
}

func (d *describer) program(name, path string) supervise.Program {
	return supervise.Program{Name: name, Path: path, SocketDir: d.sockets, Log: d.logs.Plugin(slog.New(slog.DiscardHandler)), Memory: d.memory}
}

// manifest is what config.CheckPlugins asks.
func (d *describer) manifest(name string) (sdk.Manifest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.found[name]
	if f.started && f.err != nil {
		return sdk.Manifest{}, config.ErrUnchecked // about the machine, not the configuration
	}
	return f.manifest, f.err
}

// Status asks the running host of a configuration.
func Status(ctx context.Context, c *config.Config) (admin.Status, error) {
	return admin.Client{Addr: c.Admin.Listen}.Status(ctx)
}

// WriteStatus prints a status for people.
func WriteStatus(w io.Writer, s admin.Status) error {
	_, err := io.WriteString(w, statusText(&s))
	return err
}
