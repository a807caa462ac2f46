package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// watched is an Instance whose states and processes are noted.
type watched struct {
	*Instance
	mu    sync.Mutex
	seen  []State    // guarded by mu: changes, oldest first
	texts []string   // guarded by mu: why it was down, each time
	procs []*Process // guarded by mu
	stop  func()
	ended chan error
}

// Handle notes the one line that an instance logs for each change.
func (w *watched) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.Message {
	case "up":
		w.seen = append(w.seen, Up)
	case "breaker open":
		w.seen = append(w.seen, BreakerOpen)
	case "down":
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "state":
				w.seen = append(w.seen, State(a.Value.String()))
			case "err":
				w.texts = append(w.texts, a.Value.String())
			}
			return true
		})
	}
	return nil
}

func (w *watched) Enabled(context.Context, slog.Level) bool { return true }
func (w *watched) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *watched) WithGroup(string) slog.Handler            { return w }

// watch runs an instance until the end of the test.
func watch(t *testing.T, p Program, s Session) *watched {
	t.Helper()
	w := &watched{ended: make(chan error, 1)}
	w.Instance = NewInstance(p, func(ctx context.Context, proc *Process, up func()) error {
		w.mu.Lock()
		w.procs = append(w.procs, proc)
		w.mu.Unlock()
		return s(ctx, proc, up)
	}, slog.New(w))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { w.ended <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := recv(t, "end of the instance", w.ended); err != nil {
			t.Errorf("Instance.Run = %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *watched) states() []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]State(nil), w.seen...)
}

func (w *watched) reasons() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.texts, "\n")
}

func (w *watched) newest() *Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[len(w.procs)-1]
}

// reached waits until the changes of state begin with want.
func (w *watched) reached(t *testing.T, want ...State) {
	t.Helper()
	until(t, "states", func() bool { return len(w.states()) >= len(want) })
	for i, s := range w.states()[:len(want)] {
		if s != want[i] {
			t.Fatalf("states %v, want %v; %s", w.states(), want, w.reasons())
		}
	}
}

// A plugin that would take an unknown setting in silence is not opened with one.
func TestSettingsAreCheckedBeforeOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"bogus":"x","size":true}`)
	w := r.run(t)
	<-w.Tried()
	w.reached(t, Failing)
	text := w.reasons()
	for _, want := range []string{"do not fit the plugin's manifest, and it was not opened", "bogus: unknown setting", "size: must be"} {
		if !strings.Contains(text, want) {
			t.Errorf("reason %q does not say %q", text, want)
		}
	}
	w.stop()
	if heard := r.heard(); heard != "" {
		t.Errorf("the plugin heard %q", heard)
	}
}

func TestOpenThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"mode":"fail once"}`)
	w := r.run(t)
	<-w.Tried()
	w.reached(t, Failing, Up)
	if s := w.Status(); s.State != Up || s.Error != "" || s.Restarts != 0 || s.Version != "1.2.3" || !s.Tried {
		t.Errorf("status %+v", s)
	}
	if text := w.reasons(); !strings.Contains(text, "open: port is not there") {
		t.Errorf("reason %q", text)
	}
	w.stop()
	if s := w.Status(); s.State != Stopped {
		t.Errorf("status %+v after the end", s)
	}
}

func TestKilledPluginComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{}`)
	w := r.run(t)
	w.reached(t, Up)
	first := w.newest()
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.reached(t, Up, BackingOff, Up)
	if s := w.Status(); s.Restarts != 1 || w.newest() == first {
		t.Errorf("status %+v", s)
	}
	if text := w.reasons(); !strings.Contains(text, "plugin is gone") || strings.Contains(text, "\n") {
		t.Errorf("reason %q", text)
	}
}

func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		mode string
		want []State
		says []string
	}{
		{"crash", []State{Failing, Failing}, []string{"plugin is gone", "exit status 7"}},
		{"panic", []State{Up, BackingOff}, []string{"last words: panic: (its 13 bytes are not shown", "main.deep(", "exit status 2"}},
		{"flood", []State{Up, BackingOff}, []string{"the flood is over", "exit status 5"}},
	} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			w := newRig(t, "plugin", `{"mode":"`+c.mode+`"}`).run(t)
			until(t, "failure", func() bool { return w.reasons() != "" })
			mentions(t, errors.New(w.reasons()), c.says...)
			w.reached(t, c.want...)
		})
	}
}

func TestWrongRole(t *testing.T) {
	t.Parallel()
	w := newRig(t, "sink", `{}`).run(t)
	w.reached(t, Failing)
	mentions(t, errors.New(w.reasons()), "is a sink, not a device")
}

// A session of the host's own that panics backs off like a plugin that fails.
func TestPanicOfASession(t *testing.T) {
	t.Parallel()
	calls := 0
	w := watch(t, program(t, "plugin"), func(ctx context.Context, _ *Process, up func()) error {
		if calls++; calls == 1 {
			panic("a bug")
		}
		up()
		<-ctx.Done()
		return ctx.Err()
	})
	w.reached(t, Failing, Up)
	mentions(t, errors.New(w.reasons()), "panic: a bug")
}

func TestPauseGrowsUntilItStaysUp(t *testing.T) {
	r := &restarts{pause: life.Backoff{First: time.Millisecond, Longest: 4 * time.Millisecond}}
	for _, want := range []time.Duration{1, 2, 4, 4} {
		r.up() // and down at once
		if err := r.wait(t.Context()); err != nil || r.pause.Pause() != want*time.Millisecond {
			t.Fatalf("pause %s, %v; want %d ms", r.pause.Pause(), err, want)
		}
	}
	r.since = time.Now().Add(-time.Hour)
	if err := r.wait(t.Context()); err != nil || r.pause.Pause() != time.Millisecond {
		t.Fatalf("pause %s after an hour up", r.pause.Pause())
	}
}

// fullDisk is an intake that has no room until it is emptied.
type fullDisk struct {
	Intake
	mu   sync.Mutex
	room chan struct{} // guarded by mu: see Intake.Room
}

// Room is Intake's.
func (f *fullDisk) Room() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.room
}

func (f *fullDisk) empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.room)
	f.room = nil
}

// A device that cannot even make its folder on the full disk is tried again in the instant in which there is room, and its
// pause is then as short as that of a first failure.
func TestFullDiskMakesNoPauseGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		disk := &fullDisk{room: make(chan struct{})}
		var tries atomic.Int32
		d := &Device{Intake: disk, Open: wire.OpenDevice{StateDir: t.TempDir(), StagingDir: filepath.Join(file, "staging")}}
		i := NewInstance(Program{}, func(ctx context.Context, proc *Process, up func()) error {
			tries.Add(1)
			return d.Session(ctx, proc, up)
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			proc := &Process{Manifest: sdk.Manifest{Role: sdk.RoleDevice}}
			ended <- i.sessions(ctx, proc, &restarts{pause: life.Backoff{First: firstPause, Longest: longestPause}})
		}()
		time.Sleep(time.Hour) // of the bubble's clock
		synctest.Wait()
		if s := i.Status(); s.State != Failing || s.Error == "" || tries.Load() != 1 {
			t.Errorf("after %d tries the full disk is not in the status: %+v", tries.Load(), s)
		}
		before := tries.Load()
		disk.empty()
		synctest.Wait()
		if n := tries.Load() - before; n != 1 {
			t.Errorf("%d tries at the instant in which there is room, want one", n)
		}
		time.Sleep(firstPause)
		synctest.Wait()
		if n := tries.Load() - before; n != 2 {
			t.Errorf("%d tries within %s, want 2", n, firstPause)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("sessions = %v", err)
		}
	})
}

// A host that cannot say when it has room is asked at an even pace.
func TestPauseAfterARefusalDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &restarts{pause: life.Backoff{First: firstPause, Longest: longestPause}}
		for n := range 20 {
			began := time.Now()
			if err := r.after(t.Context(), &noRoomError{err: errNotTaken}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > refusedPause {
				t.Fatalf("pause %d takes %s", n, took)
			}
		}
	})
}
