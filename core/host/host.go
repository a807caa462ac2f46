package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/route"
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
	Version  string    // of hostd
	Console  io.Writer // gets the log beside its file; nil is none
	Stop     func()    // begins the orderly end: called when somebody asks for it over HTTP
	Stopping func()    // called when the orderly end has begun
	Started  time.Time // of the process
}

// Host is hostd: every stage of the flow, and what is around them.
type Host struct {
	opt     Options
	cfg     *config.Config
	started time.Time
	places  places

	logs    *logs.Logs
	log     *slog.Logger
	lock    io.Closer
	spool   *spool.Spool
	audit   *audit
	cache   *cache.Cache
	db      *database
	workers *schedule.Pool
	intake  *intake
	devices []*unit
	sinks   []*unit
	admin   *admin.Server
	alarms  alarms
	missing missing
	silence silence

	ready atomic.Bool
}

// New makes a host; it starts nothing.
func New(o Options) *Host {
	return &Host{opt: o, cfg: o.Config, started: o.Started, alarms: alarms{since: map[alarmKey]time.Time{}}}
}

// Open takes the data folder and opens every stage. After an error Close gives back what was opened.
func (h *Host) Open(ctx context.Context) error {
	var err error
	if h.places, err = newPlaces(h.cfg); err != nil {
		return err
	}
	if err := errors.Join(h.places.checkFolders(), checkLog(h.cfg.Logging.File.Path)); err != nil {
		return err
	}
	if h.logs, err = logs.Open(h.cfg.Logging, h.opt.Console); err != nil {
		return Environment(fmt.Errorf("open log: %w", err))
	}
	if err := h.logs.SetLevels(h.cfg.Logging.Level, h.cfg.LogLevels()); err != nil {
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
	key, err := h.cfg.Spool.KeyBytes()
	if err != nil {
		return fmt.Errorf("spool.key: %w", err)
	}
	indexKey, err := h.places.indexKey()
	if err != nil {
		return err
	}
	h.spool, err = spool.Open(h.places.spool, spool.Options{
		Describe: describe, IndexKey: indexKey,
		SegmentSize: mib(h.cfg.Spool.SegmentSizeMB), Keep: h.cfg.Spool.Keep, KeepSize: mib(h.cfg.Spool.KeepSizeMB),
		Cap: mib(h.cfg.Spool.MaxSizeMB), Reserve: mib(h.cfg.Spool.ReserveMB), Seal: h.cfg.Spool.Seal, Key: key,
		Blobs: h.places.blobs, Log: h.logs.Logger("spool"),
	})
	if err != nil {
		return spoolFault(h.places.spool, key, err)
	}
	if h.audit, err = openAudit(h.places.audit); err != nil {
		return Environment(err)
	}
	h.cache = cache.New(cache.Options{Capacity: h.cfg.Cache.Capacity, TTL: h.cfg.Cache.TTL})
	h.db = newDatabase(h)
	h.workers = schedule.New(schedule.Options{Size: h.cfg.Workers.Size, Queue: h.cfg.Workers.Queue})
	if err := h.buildFlow(); err != nil {
		return err
	}
	h.recallPauses()
	h.admin, err = admin.New(admin.Options{
		Listen: h.cfg.Admin.Listen, Source: h, Log: h.logs.Logger("admin"), TokenFile: h.places.token, Stop: h.opt.Stop, Operate: h.operate,
	})
	if err != nil {
		return err
	}
	return Environment(h.admin.Open(ctx))
}

func mib(n int) int64 { return int64(n) << 20 }

// buildFlow makes the route table, the devices and the sinks.
func (h *Host) buildFlow() error {
	names := make([]string, len(h.cfg.Sinks))
	ids := make([]spool.SinkID, len(h.cfg.Sinks))
	known := sinksOf(h.spool.Stats())
	for i := range h.cfg.Sinks {
		names[i] = h.cfg.Sinks[i].Name
		var err error
		if ids[i], err = h.registerSink(&h.cfg.Sinks[i], known); err != nil {
			return err
		}
	}
	rules := make([]route.Rule, len(h.cfg.Routes))
	for i, r := range h.cfg.Routes {
		rules[i] = route.Rule{From: r.From, Kind: r.Kind, Labels: r.Labels, To: r.To, Also: r.Also}
	}
	table, err := route.New(rules, names)
	if err != nil {
		return err
	}
	devices := make([]string, len(h.cfg.Devices))
	for i := range h.cfg.Devices {
		devices[i] = h.cfg.Devices[i].Name
	}
	h.intake = newIntake(h.spool, h.logs.Logger("intake"), table, ids, devices)
	for i := range h.cfg.Devices {
		u, err := h.newDevice(&h.cfg.Devices[i])
		if err != nil {
			return err
		}
		h.devices = append(h.devices, u)
	}
	for i := range h.cfg.Sinks {
		u, err := h.newSink(&h.cfg.Sinks[i], ids[i])
		if err != nil {
			return err
		}
		h.sinks = append(h.sinks, u)
	}
	return nil
}

// Addr is where the page answers; empty before Open.
func (h *Host) Addr() string { return h.admin.Addr() }

// Run works until ctx ends, and then comes to its end in order. ready is called once, when every device was tried or
// after readyWait. An error is a stage that failed, or one that did not end within its grace.
func (h *Host) Run(ctx context.Context, ready func()) error {
	apart := context.WithoutCancel(ctx) // a stage ends when its callers have, not with ctx
	below, sinks, devices := life.NewGroup(apart), life.NewGroup(apart), life.NewGroup(apart)
	below.Go("spool", h.spool.Run)
	below.Go("cache", h.cache.Run)
	below.Go("database", h.db.run)
	below.Go("workers", h.workers.Run)
	below.Go("admin page", h.admin.Run)
	below.Go("oldest records", h.giveOldest)
	below.Go("sweep of attachments", h.sweep)
	below.Go("look for deleted files", h.watch)
	h.startAll(sinks, h.sinks)
	h.startAll(devices, h.devices)
	h.log.Info("started", "version", h.opt.Version, "clinic", h.cfg.Clinic, "devices", len(h.devices), "sinks", len(h.sinks), "page", h.admin.Addr())
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

// startAll runs units; one that panics is the host's own bug, and is run again after a pause.
func (h *Host) startAll(g *life.Group, units []*unit) {
	for _, u := range units {
		g.Go(u.name, func(ctx context.Context) error {
			pause := life.Backoff{First: time.Second, Longest: time.Minute}
			for {
				err := u.gate.run(ctx, u.inst.Run)
				if ctx.Err() != nil || err == nil {
					return nil
				}
				h.logPanic(u.name, err)
				if pause.Wait(ctx) != nil {
					return nil
				}
			}
		})
	}
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
	for _, u := range h.devices {
		select {
		case <-u.inst.Tried():
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
	h.log.Info("stopping", "grace", h.cfg.Shutdown.Grace.String())
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Shutdown.Grace)
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
