package host

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/route"
)

// configEvery is how often the files of the configuration are looked at. They are taken when two looks have seen the same.
const configEvery = time.Second

// Source is where newer configurations come from. All but Load may be nil.
type Source struct {
	Load   func() (*config.Config, error) // as config.Load
	Sum    func() string                  // another one when the files were written
	Hangup <-chan os.Signal               // asks for a reload
}

// ReloadArgs say who asks for a reload.
type ReloadArgs struct {
	By string `json:"by"`
}

// Reloaded is what a reload did.
type Reloaded struct {
	Change   config.Change `json:"change"`             // is empty where nothing differs
	Stopping []string      `json:"stopping,omitempty"` // devices and sinks that were told to end and have not yet; what follows them waits for it
	Faults   config.Faults `json:"faults,omitempty"`   // why all was left as it is
}

// errStopping is a reload while the host ends.
var errStopping = errors.New("hostd is about to end")

// reload is what reloads share.
type reload struct {
	turn chan struct{} // capacity 1: held by the one reload; before applying

	applying sync.Mutex       // held while units and limits are exchanged, and not while anything but the disk is waited for
	groups   groups           // guarded by applying
	newest   map[string]*unit // guarded by applying: by name, those that have left included until they have ended
	over     bool             // guarded by applying: no unit is started any more

	mu    sync.Mutex
	about admin.Config // guarded by mu
	tried string       // guarded by mu: sum of the files at the newest reload
}

// groups are those in which the host's parts run.
type groups struct{ below, sinks, devices *life.Group }

func newReload() reload {
	return reload{turn: make(chan struct{}, 1), newest: map[string]*unit{}, about: admin.Config{LoadedAt: time.Now().UTC()}}
}

// begin keeps the groups in which units are started.
func (l *reload) begin(g groups) {
	l.applying.Lock()
	defer l.applying.Unlock()
	l.groups = g
}

// end keeps units from being started.
func (l *reload) end() {
	l.applying.Lock()
	defer l.applying.Unlock()
	l.over = true
}

func (l *reload) status() admin.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.about
	c.Faults = slices.Clone(c.Faults)
	return c
}

// trying keeps the sum of the files that are about to be read.
func (l *reload) trying(sum string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = sum
}

func (l *reload) wasTried(sum string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tried == sum
}

// taken notes that the files are in effect.
func (l *reload) taken(changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.about.RefusedAt, l.about.Faults = nil, nil
	if changed {
		l.about.LoadedAt = time.Now().UTC()
		l.about.Reloads++
	}
}

func (l *reload) refused(faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC()
	l.about.Refusals++
	l.about.RefusedAt, l.about.Faults = &now, faults
}

// watchConfig reloads when the files of the configuration were written, and at a hangup.
func (h *Host) watchConfig(ctx context.Context) error {
	tick := time.NewTicker(configEvery)
	defer tick.Stop()
	seen := ""
	for {
		by := "SIGHUP"
		select {
		case <-ctx.Done():
			return nil
		case <-h.opt.Reload.Hangup:
		case <-tick.C:
			by = "change of the files"
			if h.opt.Reload.Sum == nil {
				continue
			}
			sum := h.sum()
			same := sum == seen
			if seen = sum; !same || h.reload.wasTried(sum) {
				continue
			}
		}
		if _, err := h.Reload(ctx, by); err != nil && ctx.Err() == nil {
			h.log.Error("configuration not reloaded", "by", by, "err", err)
		}
	}
}

// sum stands for what the files of the configuration say now, and the device blocks of the plugin folder.
func (h *Host) sum() string {
	if h.opt.Reload.Sum == nil {
		return ""
	}
	return h.opt.Reload.Sum() + config.SumInbox(h.places.plugins)
}

// Reload reads the configuration anew, checks it whole, and changes what differs and nothing else. What is wrong with it is in the
// answer's Faults, all at once, and the old one goes on; an error is any other reason for that. Reloads wait for each other.
func (h *Host) Reload(ctx context.Context, by string) (done Reloaded, err error) {
	if h.opt.Reload.Load == nil {
		return done, errors.New("this host has no configuration to read anew")
	}
	select {
	case h.reload.turn <- struct{}{}:
		defer func() { <-h.reload.turn }()
	case <-ctx.Done():
		return done, ctx.Err()
	}
	h.reload.trying(h.sum())
	next, change, err := h.checked(ctx)
	switch {
	case ctx.Err() != nil:
		return done, ctx.Err()
	case errors.As(err, &done.Faults), err != nil:
		return done, h.refuse(by, err)
	case change.Empty():
		h.reload.taken(false)
		return done, nil
	}
	leaving, err := h.apply(by, next, change) //nolint:contextcheck // units outlive the one who asked: they live in their groups
	if errors.Is(err, errStopping) {
		return done, err
	}
	if err != nil {
		return done, h.refuse(by, err)
	}
	h.reload.taken(true)
	h.log.Info("configuration reloaded", "by", by, "what", change.String())
	done.Change, done.Stopping = change, awaitEnd(ctx, next.Shutdown.Grace, leaving)
	if len(done.Stopping) > 0 {
		h.log.Warn("what a reload stops has not ended in time; what follows it waits", "names", strings.Join(done.Stopping, ", "))
	}
	return done, nil
}

// checked reads the newest configuration and checks it whole, as run does before the start. With an error it may be nil.
func (h *Host) checked(ctx context.Context) (next *config.Config, change config.Change, err error) {
	next, err = h.opt.Reload.Load()
	if next == nil {
		return nil, change, err
	}
	change = h.now().cfg.Compare(next)
	err = config.Join(err, next.Restart(change))
	if err == nil {
		h.takeNew(ctx, next)
	}
	err = config.Join(err, h.fit(next))
	change = h.now().cfg.Compare(next)
	return next, change, err
}

// refuse says everywhere that the newest configuration is not in effect. It returns what is no fault of the configuration.
func (h *Host) refuse(by string, err error) error {
	faults := strings.Split(err.Error(), "\n")
	h.reload.refused(faults)
	h.log.Error("configuration refused; the old one goes on", "by", by, "faults", len(faults))
	for _, f := range faults {
		h.log.Error("fault of the configuration", "fault", f)
	}
	var list config.Faults
	if errors.As(err, &list) {
		return nil
	}
	return err
}

// apply puts the checked configuration in the place of the one that runs. It waits for nothing: a unit that takes another's place
// waits for that one's end itself.
func (h *Host) apply(by string, next *config.Config, change config.Change) (leaving []*unit, err error) {
	l := &h.reload
	l.applying.Lock()
	defer l.applying.Unlock()
	if l.over {
		return nil, errStopping
	}
	was := h.now()
	is, err := h.flow(next, &change)
	if err != nil {
		return nil, err
	}
	if err := h.audit.note(by, opReload, change); err != nil {
		return nil, err
	}
	if err := h.setLimits(next, &change); err != nil {
		return nil, err
	}
	h.intake.routing.Store(is.routing)
	h.running.Store(is)
	leaving = slices.Concat(without(was.devices, is.devices), without(was.sinks, is.sinks))
	for _, u := range leaving {
		u.leave()
	}
	h.startAll(l.groups.sinks, without(is.sinks, was.sinks))
	h.startAll(l.groups.devices, without(is.devices, was.devices))
	if names := change.Sinks.Added; len(names) > 0 {
		l.groups.below.Go("oldest records", func(ctx context.Context) error { return h.giveOldest(ctx, names) })
	}
	return leaving, nil
}

// setLimits gives the stages their limits.
func (h *Host) setLimits(c *config.Config, change *config.Change) error {
	err := errors.Join(h.logs.SetLevels(c.Logging.Level, c.LogLevels()), h.db.setLimits(databaseOptions(c, &h.places)))
	if err != nil {
		return err
	}
	h.workers.Resize(workersOf(c))
	h.spool.SetLimits(spoolLimits(c))
	if slices.ContainsFunc(change.Keys, func(k string) bool { return strings.HasPrefix(k, "cache.") }) {
		h.cache.Resize(cacheLimits(c)) // which empties it
	}
	return nil
}

// flow makes the devices, sinks and routes of a configuration. A unit that runs and is not changed is taken over as it is.
func (h *Host) flow(c *config.Config, change *config.Change) (*running, error) {
	was, is := h.now(), &running{cfg: c, routing: &routing{}}
	names, known, paused := []string{}, sinksOf(h.spool.Stats()), h.pausedNames()
	take := func(old []*unit, name string, changed []string, make func() (*unit, error)) (*unit, error) {
		at := slices.IndexFunc(old, func(u *unit) bool { return u.name == name })
		if at >= 0 && !slices.Contains(changed, name) {
			return old[at], nil
		}
		u, err := make()
		switch {
		case err != nil:
			return nil, err
		case at >= 0:
			u.gate = old[at].gate
		default:
			u.gate.set(slices.Contains(paused, name))
		}
		return u, nil
	}
	for i := range c.Devices {
		d := &c.Devices[i]
		u, err := take(was.devices, d.Name, change.Devices.Changed, func() (*unit, error) { return h.newDevice(c, d) })
		if err != nil {
			return nil, err
		}
		is.devices = append(is.devices, u)
	}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		id, err := h.registerSink(s, known)
		if err != nil {
			return nil, err
		}
		u, err := take(was.sinks, s.Name, change.Sinks.Changed, func() (*unit, error) { return h.newSink(c, s, id) })
		if err != nil {
			return nil, err
		}
		is.sinks, is.routing.sinks, names = append(is.sinks, u), append(is.routing.sinks, id), append(names, s.Name)
	}
	var err error
	is.routing.table, err = route.New(rulesOf(c), names)
	return is, err
}

func rulesOf(c *config.Config) []route.Rule {
	rules := make([]route.Rule, len(c.Routes))
	for i, r := range c.Routes {
		rules[i] = route.Rule{From: r.From, Kind: r.Kind, Labels: r.Labels, To: r.To, Also: r.Also}
	}
	return rules
}

// without are the units of list that are not in other.
func without(list, other []*unit) (rest []*unit) {
	for _, u := range list {
		if !slices.Contains(other, u) {
			rest = append(rest, u)
		}
	}
	return rest
}

// startAll runs units, each after the end of the one that had its name before. l.applying is held.
func (h *Host) startAll(g *life.Group, units []*unit) {
	newest := h.reload.newest
	for name, u := range newest {
		select {
		case <-u.done:
			delete(newest, name)
		default:
		}
	}
	for _, u := range units {
		before := newest[u.name]
		newest[u.name] = u
		ctx, leave := context.WithCancel(g.Context())
		u.leave = leave
		g.Go(u.name, func(context.Context) error {
			defer close(u.done)
			defer leave()
			if before != nil && u.beside == nil {
				<-before.done // never two of a name; supervise bounds its end
			}
			h.keep(ctx, u)
			u.beside.do()
			return nil
		})
	}
}

// startFirst runs the units of the start.
func (h *Host) startFirst(r *running) {
	h.reload.applying.Lock()
	defer h.reload.applying.Unlock()
	h.startAll(h.reload.groups.sinks, r.sinks)
	h.startAll(h.reload.groups.devices, r.devices)
}

// keep runs a unit until ctx ends; a panic in it is the host's own bug, and it is run again after a pause.
func (h *Host) keep(ctx context.Context, u *unit) {
	if u.missing != nil {
		<-ctx.Done() // another takes its place when there is a binary
		return
	}
	pause := life.Backoff{First: time.Second, Longest: time.Minute}
	for ctx.Err() == nil {
		err := u.gate.run(ctx, u.inst.Run)
		if ctx.Err() != nil || err == nil {
			return
		}
		h.logPanic(u.name, err)
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// awaitEnd waits for the end of units, within grace, and names those that have not ended.
func awaitEnd(ctx context.Context, grace time.Duration, units []*unit) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, u := range units {
		select {
		case <-u.done:
		case <-ctx.Done():
			select {
			case <-u.done:
			default:
				names = append(names, u.name)
			}
		}
	}
	return names
}

// Reload asks the running host to read its configuration anew. What is wrong with that is a config.Faults.
func Reload(ctx context.Context, c *config.Config, a ReloadArgs) (done Reloaded, err error) {
	err = ask(ctx, c, opReload, a, &done)
	if err == nil && len(done.Faults) > 0 {
		err = done.Faults
	}
	return done, err
}
