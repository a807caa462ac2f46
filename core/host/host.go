package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/schedule"
	"github.com/hostd/hostd/core/internal/spool"
)

// readyWait is how long after the start the host says that it is ready even though a device was not tried yet.
const readyWait = 14 * time.Second

// belowGrace is what the stages below the plugins get to end, after these have had the configuration's grace.
const belowGrace = 5 * time.Second

// Options of a Host.
type Options struct {
	Config   *config.Config
	Reload   Source    // of newer configurations; without its Load there are none
	Version  string    // of hostd
	Console  io.Writer // gets the log beside its file; nil is none
	Stop     func()    // begins the orderly end: called when somebody asks for it over HTTP
	Stopping func()    // called when the orderly end has begun
	Started  time.Time // of the process
}

// Host is hostd: every stage of the flow, and what is around them.
type Host struct {
	opt     Options
	started time.Time
	places  places
	running atomic.Pointer[running] // exchanged by a reload
	reload  reload

	logs    *logs.Logs
	log     *slog.Logger
	lock    io.Closer
	spool   *spool.Spool
	audit   *audit
	cache   *cache.Cache
	db      *database
	workers *schedule.Pool
	intake  *intake
	admin   *admin.Server
	alarms  alarms
	missing missing
	dropins dropins
	idKey   []byte // that of the index, for the ids of assignments

	assigning sync.Mutex // held by the one assignment

	ready atomic.Bool
}

// running is what a configuration has made. It is not changed: a reload puts another in its place.
type running struct {
	cfg     *config.Config
	devices []*unit
	sinks   []*unit
	routing *routing
}

// now is what runs.
func (h *Host) now() *running { return h.running.Load() }

// New makes a host; it starts nothing.
func New(o Options) *Host {
	h := &Host{opt: o, reload: newReload(), started: o.Started, alarms: alarms{since: map[alarmKey]time.Time{}}}
	h.running.Store(&running{cfg: o.Config})
	return h
}

// Open takes the data folder and opens every stage. After an error Close gives back what was opened.
func (h *Host) Open(ctx context.Context) error {
	var err error
	cfg := h.now().cfg
	if h.places, err = newPlaces(cfg); err != nil {
		return err
	}
	if err := errors.Join(h.places.checkFolders(), checkLog(cfg.Logging.File.Path)); err != nil {
		return err
	}
	if h.logs, err = logs.Open(cfg.Logging, h.opt.Console); err != nil {
		return Environment(fmt.Errorf("open log: %w", err))
	}
	if err := h.logs.SetLevels(cfg.Logging.Level, cfg.LogLevels()); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	h.log = h.logs.Logger("host")
	if err := h.places.make(); err != nil {
		return err
	}
	if h.lock, err = h.places.takeLock(ctx); err != nil {
		return err
	}
	if err := h.places.emptySockets(); err != nil { // only now: another host's sockets are not ours
		return err
	}
	return h.openStages(ctx)
}

func (h *Host) openStages(ctx context.Context) error {
	cfg := h.now().cfg
	key, err := cfg.Spool.KeyBytes()
	if err != nil {
		return fmt.Errorf("spool.key: %w", err)
	}
	if h.audit, err = openAudit(h.places.audit); err != nil {
		return Environment(err)
	}
	if err := h.openStore(cfg); err != nil {
		return err
	}
	h.takeFirst(ctx, cfg)
	indexKey, err := h.places.indexKey()
	if err != nil {
		return err
	}
	h.idKey = indexKey
	o := spoolLimits(cfg)
	o.Describe, o.IndexKey, o.Key, o.Blobs, o.Log = describe, indexKey, key, h.places.blobs, h.logs.Logger("spool")
	h.spool, err = spool.Open(h.places.spool, o)
	if err != nil {
		return spoolFault(h.places.spool, key, err)
	}
	if err := h.settleRename(); err != nil {
		return Environment(err)
	}
	h.cache = cache.New(cacheLimits(cfg))
	h.db = newDatabase(h)
	h.workers = schedule.New(workersOf(cfg))
	h.intake = newIntake(h.spool, h.logs.Logger("intake"))
	first, err := h.flow(cfg, &config.Change{})
	if err != nil {
		return err
	}
	h.intake.routing.Store(first.routing)
	h.running.Store(first)
	h.admin, err = admin.New(admin.Options{
		Listen: cfg.Admin.Listen, Source: h, Log: h.logs.Logger("admin"), TokenFile: h.places.token, Stop: h.opt.Stop, Operate: h.operate,
	})
	if err != nil {
		return err
	}
	return Environment(h.admin.Open(ctx))
}

func mib(n int) int64 { return int64(n) << 20 }

// The limits that stages take of a configuration, at the start and at a reload.
func spoolLimits(c *config.Config) spool.Options {
	s := &c.Spool
	return spool.Options{
		SegmentSize: mib(s.SegmentSizeMB), Keep: s.Keep, KeepSize: mib(s.KeepSizeMB), Cap: mib(s.MaxSizeMB), Reserve: mib(s.ReserveMB), Seal: s.Seal,
	}
}

func cacheLimits(c *config.Config) cache.Options {
	return cache.Options{Capacity: c.Cache.Capacity, TTL: c.Cache.TTL}
}

func workersOf(c *config.Config) schedule.Options {
	return schedule.Options{Size: c.Workers.Size, Queue: c.Workers.Queue}
}

// Addr is where the page answers; empty before Open.
func (h *Host) Addr() string { return h.admin.Addr() }

// Run works until ctx ends, and then comes to its end in order. ready is called once, when every device was tried or
// after readyWait. An error is a stage that failed, or one that did not end within its grace.
func (h *Host) Run(ctx context.Context, ready func()) error {
	apart := context.WithoutCancel(ctx) // a stage ends when its callers have, not with ctx
	below, sinks, devices := life.NewGroup(apart), life.NewGroup(apart), life.NewGroup(apart)
	h.reload.begin(groups{below: below, sinks: sinks, devices: devices})
	below.Go("spool", h.spool.Run)
	below.Go("cache", h.cache.Run)
	below.Go("database", h.db.run)
	below.Go("workers", h.workers.Run)
	below.Go("admin page", h.admin.Run)
	below.Go("oldest records", func(ctx context.Context) error { return h.giveOldest(ctx, nil) })
	below.Go("sweep of attachments", h.sweep)
	below.Go("look for deleted files", h.watch)
	r := h.now()
	h.startFirst(r) //nolint:contextcheck // units live in their groups, whose contexts are of ctx
	h.log.Info("started", "version", h.opt.Version, "clinic", r.cfg.Clinic, "devices", len(r.devices), "sinks", len(r.sinks), "page", h.admin.Addr())
	below.Go("watch of the plugin folder", h.watchPlugins)
	if h.opt.Reload.Load != nil {
		below.Go("watch of the configuration", h.watchConfig)
	}
	below.Go("ready", func(ctx context.Context) error {
		if h.awaitTried(ctx) {
			h.ready.Store(true)
			h.log.Info("ready")
			ready()
		}
		return nil
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-below.Failed():
		h.log.Error("a stage failed; the host ends", "err", err)
	}
	return errors.Join(err, h.stop(apart, devices, sinks, below))
}

func (h *Host) logPanic(name string, err error) {
	var p *life.Panic
	if errors.As(err, &p) {
		h.log.Error("bug in hostd: panic", "name", name, "err", err, "stack", string(p.Stack))
		return
	}
	h.log.Error("run ended", "name", name, "err", err)
}

// awaitTried is true when every device was tried or readyWait is over, false when ctx ends.
func (h *Host) awaitTried(ctx context.Context) bool {
	late := time.NewTimer(time.Until(h.started.Add(readyWait)))
	defer late.Stop()
	for _, u := range h.now().devices {
		select {
		case <-u.tried():
		case <-late.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// stop ends devices, sinks and the stages below them, each after its callers.
func (h *Host) stop(ctx context.Context, devices, sinks, below *life.Group) error {
	h.opt.Stopping()
	h.reload.end() // no unit is started from now on
	grace := h.now().cfg.Shutdown.Grace
	h.log.Info("stopping", "grace", grace.String())
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := devices.Stop(ctx)
	err = errors.Join(err, sinks.Stop(ctx))
	last, done := context.WithTimeout(context.WithoutCancel(ctx), belowGrace)
	defer done()
	err = errors.Join(err, below.Stop(last))
	if err != nil {
		h.log.Error("not everything ended in time", "err", err)
	}
	h.log.Info("stopped")
	return err
}

// Close gives back what Open took, also after a failed Open.
func (h *Host) Close() error {
	var errs []error
	if h.admin != nil {
		errs = append(errs, h.admin.Close())
	}
	if h.db != nil {
		errs = append(errs, h.db.close())
	}
	if h.spool != nil {
		errs = append(errs, h.spool.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.places.removeSockets(), h.lock.Close())
	}
	if h.logs != nil {
		errs = append(errs, h.logs.Close())
	}
	return errors.Join(errs...)
}
