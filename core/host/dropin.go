package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/pluginstore"
	"github.com/hostd/hostd/core/sdk"
)

const (
	pluginsEvery = 200 * time.Millisecond // the plugin folder is looked at; a file is taken when two looks have seen the same
	startTime    = 15 * time.Second       // of a plugin that is asked what it is: the first start is slow where an antivirus program looks at it
	askTime      = 20 * time.Second       // for all of its answer
	startGrace   = 3 * time.Second        // that the start of the host gives to all new ones; the rest comes when it runs
	firstAgain   = time.Second            // until one that could not be taken is tried again; it doubles
	lastAgain    = 5 * time.Minute
)

// dropins is what the host knows of the plugin folder besides the store.
type dropins struct {
	store *pluginstore.Store

	mu      sync.Mutex
	busy    map[string]chan struct{} // guarded by mu: by plugin that is being taken; closed afterwards
	why     map[string]notTaken      // guarded by mu: by plugin, why its file is not in use
	missed  map[string]bool          // guarded by mu: plugins that the newest configuration names and that are not there
	crashes map[string][]time.Time   // guarded by mu: by plugin and sha256, those of the last minute
}

// notTaken is why a file of the plugin folder is not in use.
type notTaken struct {
	text  string
	later bool // it is waited for, and no fault
	pause time.Duration
	again time.Time // when it is taken anew, though it is the same
}

// openStore opens the plugin store; the lock of the data folder is held.
func (h *Host) openStore(c *config.Config) (err error) {
	d := &h.dropins
	if h.places.plugins == h.places.pluginStore {
		return Environment(fmt.Errorf("plugins.dir is %s, where hostd keeps what it has taken from there: choose another folder", h.places.plugins))
	}
	d.busy, d.why, d.crashes = map[string]chan struct{}{}, map[string]notTaken{}, map[string][]time.Time{}
	d.store, err = pluginstore.Open(pluginstore.Options{
		Inbox: h.places.plugins, Dir: h.places.pluginStore, Trust: trustOf(c), Writers: writers, Log: h.logs.Logger("plugins"),
	})
	return Environment(err)
}

func trustOf(c *config.Config) pluginstore.Trust {
	return pluginstore.Trust{Mode: c.Plugins.Trust, Pins: c.Plugins.Pins, Keys: c.Plugins.PublicKeys()}
}

// takeFirst takes the plugins that the configuration names, before anything runs, and adds the devices that need no configuration.
func (h *Host) takeFirst(ctx context.Context, c *config.Config) {
	names, err := h.dropins.store.Scan(true)
	if err != nil {
		h.log.Warn("plugin folder not read; what was taken before runs", "err", err)
	}
	used := usesOf(c)
	bounded, cancel := context.WithTimeout(ctx, startGrace)
	defer cancel()
	names = slices.DeleteFunc(names, func(n string) bool { return used[n] == nil && h.dropins.store.Known(n).Current == nil })
	h.takeAll(bounded, c, append(names, h.lacks(c)...))
	if err := h.fit(c); err != nil { // most of it was checked before the start; of what runs now each device says it, too
		h.log.Error("configuration does not fit the plugins", "err", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// lacks are the plugins that a configuration names, that lie in the plugin folder and of which nothing was taken yet.
func (h *Host) lacks(c *config.Config) []string {
	return slices.DeleteFunc(pluginsOf(c), func(n string) bool {
		_, none := h.places.program(n)
		return none != nil || h.dropins.store.Known(n).Current != nil || filepath.Base(n) != n
	})
}

// takeNew takes the plugins that a newer configuration is the first to name.
func (h *Host) takeNew(ctx context.Context, next *config.Config) {
	h.takeAll(ctx, next, h.lacks(next))
}

// fit adds enrolled devices to a configuration that was just loaded, and checks its settings against what the store has.
func (h *Host) fit(c *config.Config) error {
	c.Enroll(h.enrollable())
	missed := map[string]bool{}
	err := c.CheckPlugins(func(name string) (sdk.Manifest, error) {
		m, err := h.manifest(name)
		missed[name] = errors.Is(err, errNoPlugin)
		return m, err
	}, h.dropins.store.Names())
	h.dropins.mu.Lock()
	defer h.dropins.mu.Unlock()
	h.dropins.missed = missed
	return err
}

// errNoPlugin is a plugin that is not in the plugin folder.
var errNoPlugin = errors.New("there is no plugin")

// isMissed says whether the newest configuration, which may have been refused, names the plugin and found none.
func (d *dropins) isMissed(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.missed[name]
}

// enrollable are the plugins that may be devices without configuration.
func (h *Host) enrollable() (names []string) {
	for _, name := range h.dropins.store.Names() {
		if p := h.dropins.store.Known(name); p.Current != nil && enrolls(&p.Current.Manifest) {
			names = append(names, name)
		}
	}
	return names
}

func enrolls(m *sdk.Manifest) bool {
	return m.Enroll && m.Role == sdk.RoleDevice && !slices.ContainsFunc(m.Settings, func(s sdk.Setting) bool { return s.Required })
}

// manifest is what config.CheckPlugins asks: what the binary that runs says of itself.
func (h *Host) manifest(name string) (sdk.Manifest, error) {
	p := h.dropins.store.Known(name)
	switch {
	case p.Current != nil:
		return p.Current.Manifest, nil
	case p.Seen != nil, h.dropins.store.Waiting(name) != "", h.dropins.reason(name).text != "":
		return sdk.Manifest{}, config.ErrUnchecked // about the binary, not the configuration
	}
	return sdk.Manifest{}, fmt.Errorf("%w %s in %s", errNoPlugin, name, h.places.plugins)
}

// takeAll takes binaries, each once, and says whether one of them runs from now on.
func (h *Host) takeAll(ctx context.Context, c *config.Config, names []string) (taken bool) {
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return false
	}
	d, err := newDescriber(&h.places, c, h.places.startFolder())
	if err != nil {
		h.log.Error("plugins not taken", "err", err)
		return false
	}
	defer func() { _ = d.close() }() // a folder that stays is the system's to empty
	var some atomic.Bool
	d.each(ctx, names, func(ctx context.Context, name string) {
		done, err := h.dropins.turn(ctx, name)
		if err != nil {
			return
		}
		defer done()
		if h.take(ctx, c, d, name) {
			some.Store(true)
		}
	})
	return some.Load()
}

// turn waits until nobody takes the plugin; done ends the caller's turn.
func (d *dropins) turn(ctx context.Context, name string) (done func(), err error) {
	for {
		d.mu.Lock()
		other := d.busy[name]
		if other == nil {
			mine := make(chan struct{})
			d.busy[name] = mine
			d.mu.Unlock()
			return func() {
				d.mu.Lock()
				defer d.mu.Unlock()
				delete(d.busy, name)
				close(mine)
			}, nil
		}
		d.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isBusy says whether somebody takes the plugin.
func (d *dropins) isBusy(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy[name] != nil
}

// take copies a binary of the plugin folder into the store, asks it what it is, and says whether it is the one that runs from now on.
func (h *Host) take(ctx context.Context, c *config.Config, d *describer, name string) bool {
	store := h.dropins.store
	if usesOf(c)[name] == nil && store.Known(name).Current == nil && !h.wanted(ctx, c, d, name) {
		return false
	}
	path, look, err := store.Take(name)
	if err != nil {
		h.putOff(ctx, name, err, errors.Is(err, pluginstore.ErrLater))
		return false
	}
	p := store.Known(name)
	switch {
	case p.Removed, p.Refused[look.SHA256] != "", p.Current != nil && p.Current.SHA256 == look.SHA256:
		h.dropins.settle(name)
		return false
	}
	m, err := patiently(ctx, d, name, path, false)
	if err == nil {
		err = h.suits(c, name, m)
	}
	if err == nil {
		err = h.audit.note("plugin folder", opTake, map[string]string{"plugin": name, "version": m.Version, "sha256": look.SHA256})
	}
	if err == nil {
		err = store.Accept(name, look.SHA256, m)
	}
	if err != nil {
		h.putOff(ctx, name, err, ctx.Err() != nil)
		return false
	}
	h.dropins.settle(name)
	h.log.Info("plugin taken", "plugin", name, "version", m.Version, "sha256", look.SHA256)
	return true
}

// wanted says whether a binary that nobody uses is taken all the same: one that may be a device without configuration. Where the folder is
// trusted it is asked where it lies, and nothing is copied.
func (h *Host) wanted(ctx context.Context, c *config.Config, d *describer, name string) bool {
	if c.Plugins.Trust != pluginstore.Folder {
		return true
	}
	look, err := h.dropins.store.Read(name)
	if err != nil {
		return true // taking it says why not
	}
	path, err := h.places.program(name)
	if err != nil {
		return true
	}
	m, err := patiently(ctx, d, name, path, true)
	if err != nil || enrolls(&m) {
		return true
	}
	if err := h.dropins.store.Idle(name, look, m); err != nil {
		h.log.Warn("plugin store not written", "err", err)
	}
	h.dropins.settle(name)
	return false
}

// patiently asks a binary what it is. One that nobody waits for yields the processor to those that work.
func patiently(ctx context.Context, d *describer, name, path string, yields bool) (sdk.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	program := d.program(name, path)
	program.StartTimeout, program.Yields = startTime, yields
	return d.manifestOf(ctx, program)
}

// suits says whether the devices and sinks that use the plugin can go on with another version of it. Of a first one the check of the
// configuration says it.
func (h *Host) suits(c *config.Config, name string, m sdk.Manifest) error {
	if h.dropins.store.Known(name).Current == nil {
		return nil
	}
	var faults []string
	look := func(user, plugin string, role sdk.Role, settings map[string]any) {
		switch {
		case plugin != name:
		case m.Role != role:
			faults = append(faults, fmt.Sprintf("%s needs a %s, and it is a %s", user, role, m.Role))
		default:
			for _, f := range sdk.CheckSettings(m.Settings, settings) {
				faults = append(faults, fmt.Sprintf("settings of %s: %s: %s", user, f.Key, strings.TrimSuffix(f.Text, ": ")))
			}
		}
	}
	for i := range c.Devices {
		look(c.Devices[i].Name, c.Devices[i].Plugin, sdk.RoleDevice, c.Devices[i].Settings)
	}
	for i := range c.Sinks {
		look(c.Sinks[i].Name, c.Sinks[i].Plugin, sdk.RoleSink, c.Sinks[i].Settings)
	}
	if len(faults) > 0 {
		return fmt.Errorf("version %s does not fit the configuration, and the one before goes on: %s", m.Version, strings.Join(faults, "; "))
	}
	return nil
}

// putOff keeps why a file is not in use. It is told once.
func (h *Host) putOff(ctx context.Context, name string, err error, later bool) {
	if errors.Is(err, fs.ErrNotExist) {
		h.dropins.settle(name) // it has gone again
		return
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if !h.dropins.note(name, text, later, time.Now()) {
		return
	}
	level := slog.LevelError
	if later {
		level = slog.LevelInfo
	}
	h.log.Log(ctx, level, "plugin not taken", "plugin", name, "err", text)
}

func (d *dropins) note(name, text string, later bool, now time.Time) (fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.why[name]
	n := notTaken{text: text, later: later, pause: min(max(2*before.pause, firstAgain), lastAgain)}
	n.again = now.Add(n.pause)
	d.why[name] = n
	return before.text != text
}

// settle forgets why a file was not in use.
func (d *dropins) settle(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.why, name)
}

func (d *dropins) reason(name string) notTaken {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why[name]
}

// due are the plugins that are to be tried again.
func (d *dropins) due(now time.Time) (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, n := range d.why {
		if !now.Before(n.again) {
			names = append(names, name)
		}
	}
	return names
}

// watchPlugins takes what is dropped into the plugin folder. One that does not answer holds up no other.
func (h *Host) watchPlugins(ctx context.Context) error {
	tick := time.NewTicker(pluginsEvery)
	defer tick.Stop()
	h.dropins.store.Sweep()
	takers := life.NewGroup(ctx)
	for told := ""; ; {
		select {
		case <-ctx.Done():
			return takers.Wait()
		case err := <-takers.Failed():
			return err
		case <-tick.C:
		}
		names, err := h.dropins.store.Scan(false)
		if err != nil {
			if text := err.Error(); text != told {
				told = text
				h.log.Warn("plugin folder not read; what was taken before runs", "err", err)
			}
			continue
		}
		told = ""
		names = append(names, h.dropins.due(time.Now())...)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if !h.dropins.isBusy(name) {
				takers.Go("taker of "+name, func(ctx context.Context) error {
					h.adopt(ctx, name, h.takeAll(ctx, h.now().cfg, []string{name}))
					return nil
				})
			}
		}
	}
}

// adopt puts a binary into use that was taken: what uses the plugin goes over to it, and a device may have come with it. One that nobody uses
// may be what a refused configuration waits for.
func (h *Host) adopt(ctx context.Context, name string, taken bool) {
	if taken {
		err := h.exchange(name, "plugin folder") //nolint:contextcheck // units live in their groups
		if err != nil && !errors.Is(err, errStopping) {
			h.log.Error("plugin not put into use", "plugin", name, "err", err)
		}
		h.dropins.store.Sweep()
	}
	if h.opt.Reload.Load == nil || !taken && !h.dropins.isMissed(name) {
		return
	}
	if _, err := h.Reload(ctx, "plugin folder"); err != nil && ctx.Err() == nil && !errors.Is(err, errStopping) {
		h.log.Error("configuration not reloaded", "by", "plugin folder", "err", err)
	}
}
