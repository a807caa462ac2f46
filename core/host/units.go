package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/schedule"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
)

// unit is one device or sink as one configuration wants it.
type unit struct {
	name, plugin string
	inst         *supervise.Instance
	lane         *dispatch.Lane // sinks only
	count        *deviceCount   // devices only
	silence      *silence       // devices only
	gate         *gate          // handed on to the unit that takes its place
	missing      error          // why there was no binary: it does not run
	lacking      func() (supervise.State, string)
	beside       *takeover // it starts before the unit ends whose place it takes; nil: after

	leave context.CancelFunc // ends it; set when it is started
	done  chan struct{}      // closed at its end
}

// newDevice makes a device for the configuration cfg, of which c is a part.
func (h *Host) newDevice(cfg *config.Config, c *config.Device) (*unit, error) {
	settings, err := c.SettingsJSON()
	if err != nil {
		return nil, fmt.Errorf("settings of device %s: %w", c.Name, err)
	}
	times, err := timesOf(&c.Schedule)
	if err != nil {
		return nil, fmt.Errorf("schedule of device %s: %w", c.Name, err)
	}
	count := h.intake.countOf(c.Name)
	d := &supervise.Device{
		Open: wire.OpenDevice{
			Name: c.Name, Settings: settings, StateDir: h.places.stateOf("devices", c.Name),
			StagingDir: h.places.stagingOf(c.Name), LogLevel: level(cfg, "device", c.Name),
		},
		Plan: planOf(times), Timeout: c.Schedule.Timeout, Answer: cfg.Intake.AnswerTimeout,
		Intake: h.intake, Work: h.deviceWork, Overrun: h.workers.Overrun,
		Pace: supervise.Pace{Rate: h.deviceRate, Held: func(d time.Duration) { count.held.Add(int64(d)) }},
	}
	u := h.newUnit("device", c.Name, c.Plugin, memory(cfg, c.MemoryMB), d.Session)
	u.count = count
	if u.silence, err = newSilence(&c.Expect, time.Now()); err != nil {
		return nil, fmt.Errorf("expect of device %s: %w", c.Name, err)
	}
	return u, nil
}

// deviceRate is how many bytes a second a device may bring for long, 0 for as many as it can: one that is alone holds up nobody.
func (h *Host) deviceRate() int {
	c := h.now().cfg
	if len(c.Devices) < 2 {
		return 0
	}
	return c.Workers.DeviceRateMB << 20
}

// defaultEvery is how often a polled device is read where neither its configuration nor its manifest says so.
const defaultEvery = 2 * time.Second

// planOf makes the plans of a device's sessions: of its configuration, or of the manifest's interval.
func planOf(t schedule.Times) func(every time.Duration) supervise.Plan {
	return func(every time.Duration) supervise.Plan {
		own := t
		if own.Every == 0 && own.Cron == nil {
			own.Every = cmp.Or(every, defaultEvery)
			own.Jitter = min(own.Jitter, own.Every)
		}
		return schedule.NewPlan(own, time.Now())
	}
}

// timesOf are the times of a schedule, in the local time of the machine.
func timesOf(s *config.Schedule) (schedule.Times, error) {
	t := schedule.Times{Every: s.Every, Offset: s.Offset, Jitter: s.Jitter}
	rule, err := config.ParseCron(s.Cron)
	if err != nil {
		return t, fmt.Errorf("cron: %w", err)
	}
	if !rule.IsZero() {
		t.Cron = rule
	}
	hours, err := config.ParseHours(s.Window)
	if err != nil {
		return t, fmt.Errorf("window: %w", err)
	}
	if s.Window != "" {
		t.Window = hours
	}
	return t, nil
}

// newSink makes a sink for the configuration cfg, of which c is a part.
func (h *Host) newSink(cfg *config.Config, c *config.Sink, id spool.SinkID) (*unit, error) {
	settings, err := c.SettingsJSON()
	if err != nil {
		return nil, fmt.Errorf("settings of sink %s: %w", c.Name, err)
	}
	log := h.logs.Logger("dispatch").With("sink", c.Name)
	lane := dispatch.New(h.spool, dispatch.Options{
		Sink: id, Records: c.Batch, InFlight: c.InFlight, Timeout: c.Timeout, Log: log,
		Holding: &holding{spool: h.spool, sink: id, log: log}, HoldBack: c.Unassigned == config.Hold,
		Work: func(ctx context.Context, f func(context.Context)) error { return h.sinkWork(ctx, "sink "+c.Name, f) },
	})
	s := &supervise.Sink{
		Open: wire.OpenSink{
			Name: c.Name, Settings: settings, StateDir: h.places.stateOf("sinks", c.Name), BlobDir: h.places.blobs, LogLevel: level(cfg, "sink", c.Name),
		},
		Store: h.db.store(c.Name), Cache: h.cache.Space(c.Name), Deliver: deliver(lane),
	}
	u := h.newUnit("sink", c.Name, c.Plugin, memory(cfg, c.MemoryMB), s.Session)
	u.lane = lane
	return u, nil
}

func (h *Host) newUnit(kind, name, plugin string, memory int64, session supervise.Session) *unit {
	log := h.logs.Logger(kind).With(kind, name)
	u := &unit{name: name, plugin: plugin, gate: &gate{}, done: make(chan struct{}), lacking: func() (supervise.State, string) { return h.lacking(plugin) }}
	var path string
	if path, u.missing = h.dropins.store.Program(plugin); u.missing != nil {
		log.Warn("it does not run: its plugin is missing", "plugin", plugin, "err", u.missing)
	}
	u.inst = supervise.NewInstance(supervise.Program{Name: name, Path: path, SocketDir: h.places.sockets, Log: h.logs.Plugin(log), Memory: memory, Yields: kind == "sink"},
		func(ctx context.Context, proc *supervise.Process, up func()) error {
			return u.beside.after(session)(ctx, proc, up)
		}, log)
	u.inst.OnCrash = func(error) { h.crashed(plugin, filepath.Base(filepath.Dir(path)), time.Now()) }
	return u
}

// status is that of the plugin, or of its want.
func (u *unit) status() (s supervise.Status) {
	if u.missing == nil {
		return u.inst.Status()
	}
	s.State, s.Error = u.lacking()
	return s
}

// tried is closed once the plugin was up, has failed, or is missing.
func (u *unit) tried() <-chan struct{} {
	if u.missing != nil {
		never := make(chan struct{})
		close(never)
		return never
	}
	return u.inst.Tried()
}

// memory is how much a plugin may use, in bytes: what its device or sink says, or what holds for all.
func memory(c *config.Config, own int) int64 { return mib(cmp.Or(own, c.Plugins.MemoryMB)) }

// level is the level at which a plugin logs: that of its device or sink, or the host's.
func level(c *config.Config, kind, name string) string {
	if own, ok := c.LogLevels()[kind+"."+name]; ok {
		return own
	}
	return c.Logging.Level
}

// deviceWork is supervise.Work.
func (h *Host) deviceWork(ctx context.Context, device string, poll bool, run func(ctx context.Context)) error {
	class := schedule.Arrival
	if poll {
		class = schedule.Poll
	}
	return h.workers.Do(ctx, "device "+device, class, run)
}

// sinkWork runs f on a worker and waits for it. When ctx ends first f does not run any more.
func (h *Host) sinkWork(ctx context.Context, key string, f func(ctx context.Context)) error {
	var taken atomic.Bool // by the worker, or by the end of ctx
	done := make(chan struct{})
	err := h.workers.Do(ctx, key, schedule.Deliver, func(work context.Context) {
		if taken.CompareAndSwap(false, true) {
			defer close(done)
			f(work)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-done
	}
	return nil
}

// deliver puts a lane on a sink's stream.
func deliver(lane *dispatch.Lane) func(context.Context, *wire.SinkRun, func(), func()) error {
	return func(ctx context.Context, stream *wire.SinkRun, hangUp, settled func()) error {
		err := lane.Deliver(ctx, &sinkConn{stream: stream, hangUp: hangUp, settled: settled})
		if errors.Is(err, dispatch.ErrNoOutcome) {
			return fmt.Errorf("%w: %w", wire.ErrHung, err)
		}
		return err
	}
}

// sinkConn is a sink's stream in the words of dispatch.
type sinkConn struct {
	stream  *wire.SinkRun
	hangUp  func()
	settled func()
	sent    uint64 // numbers of the stream, which go on over a lane's rounds; Send's
	heard   uint64 // Recv's
}

var errOutOfTurn = errors.New("sink has answered a batch out of its turn")

// Send is dispatch.Conn's.
func (c *sinkConn) Send(_ uint64, again bool, records []spool.Ref) error {
	size := 64
	for i := range records {
		size += len(records[i].Payload) + len(records[i].Device) + 40
	}
	out := wire.NewOutgoing(size)
	c.sent++
	out.Head(c.sent, "")
	if again {
		out.Again()
	}
	for i := range records {
		r := &records[i]
		out.Raw(r.Payload, r.Device, r.Received, r.Seq)
	}
	return c.stream.Send(out)
}

// Recv is dispatch.Conn's.
func (c *sinkConn) Recv() (dispatch.Outcome, error) {
	o, err := c.stream.Recv()
	if err != nil {
		return dispatch.Outcome{}, err
	}
	if c.heard++; o.Number != c.heard { // it must not settle another batch than the one it is about
		return dispatch.Outcome{}, fmt.Errorf("%w: %d in place of %d", errOutOfTurn, o.Number, c.heard)
	}
	out := dispatch.Outcome{Failure: o.Failure}
	for _, e := range o.Errors {
		out.Refused = append(out.Refused, dispatch.Refusal{Index: e.Index, Reason: e.Reason})
	}
	return out, nil
}

// Settled is dispatch.Conn's.
func (c *sinkConn) Settled() { c.settled() }

// Close is dispatch.Conn's.
func (c *sinkConn) Close() { c.hangUp() }
