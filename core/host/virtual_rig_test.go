package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/pluginstore"
	"github.com/hostd/hostd/core/internal/schedule"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// clinic is a whole host in a bubble of virtual time: Open's own stages on real files, with supervise's own sessions on the
// devices' side and units' own delivery on the sinks'. Played are only the plugins, in this process: what would go over a
// process's socket goes over memory, since a goroutine in a socket does not let virtual time pass. The plugins' restarts
// are played, too, for supervise.Instance is about processes.
type clinic struct {
	t       *testing.T
	h       *Host
	log     *logBook
	frost   *frost
	below   *life.Group
	sinks   *life.Group
	devices *life.Group
	downs   tally // ends of a session, by name of the unit
	refused tally // batches that were not taken, by the text of the reason
}

// virtualConfig is a host in dir with these devices and sinks, and everything to every sink.
func virtualConfig(dir string, instruments []*instrument, receivers []*receiver) *config.Config {
	c := config.Default()
	c.DataDir, c.Plugins.Dir = filepath.Join(dir, "data"), filepath.Join(dir, "plugins")
	c.Logging.File.Path, c.Admin.Listen = "", "127.0.0.1:0"
	c.Spool.Keep, c.Spool.ReserveMB = 0, 1
	for _, in := range instruments {
		c.Devices = append(c.Devices, config.Device{Name: in.name, Plugin: "played", Schedule: config.Schedule{Every: in.every, Timeout: 30 * time.Second}})
	}
	for _, r := range receivers {
		c.Sinks = append(c.Sinks, config.Sink{Name: r.name, Plugin: "played", Batch: 1000, InFlight: 2, Timeout: 2 * time.Minute, Start: "now"})
	}
	return c
}

// openClinic opens the host and starts everything. It is called in a bubble, and stop before the end of it.
func openClinic(t *testing.T, cfg *config.Config, instruments []*instrument, receivers []*receiver) *clinic {
	t.Helper()
	c := &clinic{t: t, log: &logBook{}, frost: &frost{}}
	c.h = New(Options{Config: cfg, Console: c.log, Started: time.Now(), Stop: func() {}, Stopping: func() {}})
	storePlayed(t, cfg)
	if err := c.h.Open(t.Context()); err != nil {
		t.Fatal(errors.Join(err, c.h.Close()))
	}
	ctx := context.WithoutCancel(t.Context())
	c.below, c.sinks, c.devices = life.NewGroup(ctx), life.NewGroup(ctx), life.NewGroup(ctx)
	c.below.Go("spool", c.h.spool.Run)
	c.below.Go("cache", c.h.cache.Run)
	c.below.Go("workers", c.h.workers.Run)
	c.below.Go("oldest records", func(ctx context.Context) error { return c.h.giveOldest(ctx, nil) })
	c.below.Go("sweep of attachments", c.h.sweep)
	c.below.Go("look for deleted files", c.h.watch)
	for i, r := range receivers {
		r.frost = c.frost
		c.sinks.Go(r.name, func(ctx context.Context) error { return c.runSink(ctx, c.h.now().sinks[i], r) })
	}
	for i, in := range instruments {
		c.devices.Go(in.name, func(ctx context.Context) error { return c.runDevice(ctx, &cfg.Devices[i], in) })
	}
	c.log.forget() // of a plugin that is device and sink
	return c
}

// storePlayed puts a plugin into the store that is never started.
func storePlayed(t *testing.T, c *config.Config) {
	t.Helper()
	name := "played"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	err := errors.Join(os.MkdirAll(c.Plugins.Dir, 0o700), os.WriteFile(filepath.Join(c.Plugins.Dir, name), []byte("no program"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	s, err := pluginstore.Open(pluginstore.Options{Inbox: c.Plugins.Dir, Dir: filepath.Join(c.DataDir, "plugins"), Trust: pluginstore.Trust{Mode: pluginstore.Folder}})
	if err != nil {
		t.Fatal(err)
	}
	_, look, err := s.Take("played")
	if err == nil {
		err = s.Accept("played", look.SHA256, sdk.Manifest{Name: "played", Version: "1.0.0", Role: sdk.RoleDevice})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends everything in the host's order.
func (c *clinic) stop() {
	c.t.Helper()
	for _, g := range []*life.Group{c.devices, c.sinks, c.below} {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), c.h.now().cfg.Shutdown.Grace)
		if err := g.Stop(ctx); err != nil {
			c.t.Error(err)
		}
		cancel()
	}
	if err := c.h.Close(); err != nil {
		c.t.Error(err)
	}
}

// runDevice is what newDevice and supervise.Instance make of a device, but for its process.
func (c *clinic) runDevice(ctx context.Context, cfg *config.Device, in *instrument) error {
	h := c.h
	d := &supervise.Device{
		Open: wire.OpenDevice{
			Name: cfg.Name, StateDir: h.places.stateOf("devices", cfg.Name), StagingDir: h.places.stagingOf(cfg.Name),
		},
		Plan: planOf(schedule.Times{Every: cfg.Schedule.Every}), Timeout: cfg.Schedule.Timeout, Answer: h.now().cfg.Intake.AnswerTimeout,
		Intake: &watchedIntake{intake: h.intake, refused: &c.refused, in: in}, Work: h.deviceWork, Overrun: h.workers.Overrun, Pace: supervise.Pace{Rate: h.deviceRate, Held: func(time.Duration) {}},
	}
	m := sdk.Manifest{Name: "played", Version: "1.0.0", Role: sdk.RoleDevice, Window: 1, Polled: in.every > 0}
	return c.again(ctx, in.name, func(ctx context.Context) error {
		conn, end, err := c.process(func(s *grpc.Server) { wire.RegisterDevice(s, m, in) })
		if err != nil {
			return err
		}
		defer end()
		return d.Session(ctx, &supervise.Process{Conn: conn, Manifest: m}, func() {})
	})
}

// runSink is what newSink and supervise.Instance make of a sink, but for its process and the Store, which it does not use.
func (c *clinic) runSink(ctx context.Context, u *unit, r *receiver) error {
	m := sdk.Manifest{Name: "played", Version: "1.0.0", Role: sdk.RoleSink}
	return c.again(ctx, r.name, func(ctx context.Context) error {
		conn, end, err := c.process(func(s *grpc.Server) { wire.RegisterSink(s, nil, m, r) })
		if err != nil {
			return err
		}
		defer end()
		alive, hangUp := context.WithCancel(context.WithoutCancel(ctx))
		defer hangUp()
		stream, err := conn.RunSink(alive)
		if err != nil {
			return err
		}
		return deliver(u.lane)(ctx, stream, hangUp, func() {})
	})
}

// again is the loop of supervise.Instance with its pauses.
func (c *clinic) again(ctx context.Context, name string, session func(ctx context.Context) error) error {
	pause := life.Backoff{First: 500 * time.Millisecond, Longest: 30 * time.Second}
	for {
		c.frost.wait() // no process starts in it
		err := session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.downs.add(name)
		c.t.Logf("%s: %s: %v", time.Now().UTC().Format(time.DateTime), name, err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

// noPings is for keepalive: a plugin that is frozen together with its host misses none.
const noPings = 10000 * time.Hour

// process plays a plugin's process: a server, and the host's connection to it. end kills it.
func (c *clinic) process(register func(*grpc.Server)) (conn *wire.Conn, end func(), err error) {
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer(append(wire.ServerOptions(), grpc.KeepaliveParams(keepalive.ServerParameters{Time: noPings}))...)
	register(s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // the end of it is end's matter
	}()
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		n, err := l.DialContext(ctx)
		return frozenConn{Conn: n, frost: c.frost}, err
	}
	options := append(wire.DialOptions(), grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: noPings}))
	cc, err := grpc.NewClient("passthrough:played", options...)
	if err != nil {
		return nil, nil, err
	}
	raw, err := (&wire.Glue{}).GRPCClient(context.WithoutCancel(c.t.Context()), nil, cc)
	if err != nil {
		return nil, nil, err
	}
	return raw.(*wire.Conn), func() {
		s.Stop()
		_ = cc.Close() // it is gone already
		<-served
	}, nil
}

// suspend freezes the host and its plugins for a while, as a computer that sleeps does: no job is begun, and nothing goes
// between the host and a plugin. A bubble cannot leap over its timers: those of the host fire at their times meanwhile, so
// that each wait in it is over, and what it does then waits for the end.
func (c *clinic) suspend(d time.Duration, release func()) {
	c.frost.begin()
	time.Sleep(d)
	c.frost.end()
	release()
}

// holdWorkers takes every worker, now or as soon as it is free, until release is called.
func (c *clinic) holdWorkers() (release func()) {
	c.t.Helper()
	free := make(chan struct{})
	for i := range c.h.now().cfg.Workers.Size {
		hold := func(context.Context) { <-free }
		if err := c.h.workers.Do(c.t.Context(), fmt.Sprint("held ", i), schedule.Deliver, hold); err != nil {
			c.t.Fatal(err)
		}
	}
	return sync.OnceFunc(func() { close(free) })
}

// watchedIntake counts why the host's intake did not take a batch. In virtual time a check and an fsync take none; what they
// take of a real clinic is the instrument's to say.
type watchedIntake struct {
	*intake
	refused *tally
	in      *instrument
}

// Take is supervise.Intake's.
func (w *watchedIntake) Take(ctx context.Context, b *supervise.DeviceBatch) {
	answer := b.Answer
	b.Answer = func(err error) {
		switch {
		case errors.Is(err, spool.ErrCap):
			w.refused.add("cap")
		case err != nil:
			w.refused.add(err.Error())
		}
		if w.in.sync > 0 {
			time.AfterFunc(w.in.sync, func() { answer(err) })
			return
		}
		answer(err)
	}
	time.Sleep(w.in.check)
	w.intake.Take(ctx, b)
}

// alarms gives the alarms that stand, as the page has them.
func (c *clinic) alarms() []admin.Alarm { return c.h.Status().Alarms }

// sinkStats is what the spool counts of a sink.
func (c *clinic) sinkStats(name string) spool.SinkStats {
	for _, s := range c.h.spool.Stats().Sinks {
		if s.Name == name {
			return s
		}
	}
	c.t.Fatalf("the spool does not know the sink %s", name)
	return spool.SinkStats{}
}

// until waits for a condition in steps of virtual time, and fails when limit of it has passed.
func (c *clinic) until(what string, limit, step time.Duration, is func() bool) {
	c.t.Helper()
	for begin := time.Now(); !is(); time.Sleep(step) {
		if time.Since(begin) > limit {
			c.t.Fatalf("not within %s of virtual time: %s", limit, what)
		}
	}
}

// delivered waits until nothing waits for these sinks, and nothing is under way.
func (c *clinic) delivered(sinks ...*receiver) {
	c.t.Helper()
	for _, r := range sinks {
		c.until("everything is delivered to "+r.name, 10*time.Minute, time.Millisecond, func() bool {
			synctest.Wait()
			return c.sinkStats(r.name).Backlog == 0
		})
	}
}

// tally counts by name.
type tally struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[name]++
}

func (t *tally) of(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[name]
}

// sum counts all.
func (t *tally) sum() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.n {
		n += k
	}
	return n
}

func (t *tally) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n = nil
}

// String has the names in order.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.n)
}

// logBook counts the host's lines at warn and above by their message, and keeps the first ones.
type logBook struct {
	messages tally

	mu    sync.Mutex
	lines []string // guarded by mu: at most keptLines
}

const keptLines = 50

var loud = regexp.MustCompile(`level=(?:warning|warn|error) msg=("[^"]*"|\S+)`)

// Write takes a line.
func (b *logBook) Write(line []byte) (int, error) {
	if m := loud.FindSubmatch(line); m != nil {
		b.messages.add(strings.Trim(string(m[1]), `"`))
		b.keep(string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}

func (b *logBook) keep(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) < keptLines {
		b.lines = append(b.lines, line)
	}
}

func (b *logBook) forget() {
	b.messages.forget()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = nil
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// frost holds what goes between the host and its plugins, while it lasts.
type frost struct {
	mu   sync.Mutex
	thaw chan struct{} // guarded by mu: closed at its end; nil: there is none
}

func (f *frost) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thaw = make(chan struct{})
}

func (f *frost) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.thaw)
	f.thaw = nil
}

func (f *frost) wait() {
	f.mu.Lock()
	thaw := f.thaw
	f.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
}

// frozenConn gives and takes nothing while the frost lasts.
type frozenConn struct {
	net.Conn
	frost *frost
}

// Read is net.Conn's.
func (c frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.frost.wait()
	return n, err
}

// Write is net.Conn's.
func (c frozenConn) Write(b []byte) (int, error) {
	c.frost.wait()
	return c.Conn.Write(b)
}
