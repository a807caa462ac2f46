package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/schedule"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// rig is a device of the test plugin with a fake intake and a real worker pool.
type rig struct {
	*Device
	program Program
	pool    *schedule.Pool
	over    atomic.Int64

	mu       sync.Mutex
	position string                     // guarded by mu: stored
	term     uint64                     // guarded by mu
	taken    []string                   // guarded by mu: what Take was called with
	stored   []string                   // guarded by mu: IDs of records
	late     map[string]func(error)     // guarded by mu: answers that were kept back, by position
	refuse   func(b *DeviceBatch) error // guarded by mu: nil stores
	keep     func(b *DeviceBatch) bool  // guarded by mu: true keeps the answer back
}

func newRig(t *testing.T, name, settings string) *rig {
	t.Helper()
	r := &rig{program: program(t, name), pool: schedule.New(schedule.Options{Size: 2, Queue: 100}), term: 1, late: map[string]func(error){}}
	dir := t.TempDir()
	r.Device = &Device{
		Open: wire.OpenDevice{
			Name: "ark-1", Settings: []byte(settings), LogLevel: "info",
			StateDir: filepath.Join(dir, "state"), StagingDir: filepath.Join(dir, "staging"),
		},
		Plan: every(20 * time.Millisecond), Timeout: 30 * time.Second, Answer: 30 * time.Second,
		Intake: r, Overrun: func() { r.over.Add(1) }, Pace: Pace{Rate: func() int { return 0 }},
		Work: func(ctx context.Context, device string, poll bool, run func(context.Context)) error {
			class := schedule.Arrival
			if poll {
				class = schedule.Poll
			}
			return r.pool.Do(ctx, device, class, run)
		},
	}
	return r
}

// run keeps the device up until the end of the test.
func (r *rig) run(t *testing.T) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.pool.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := recv(t, "end of the pool", done); err != nil {
			t.Errorf("Pool.Run = %v", err)
		}
	})
	return watch(t, r.program, r.Session)
}

// Position is Intake's.
func (r *rig) Position(string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []byte(r.position)
}

// Room is Intake's.
func (r *rig) Room() <-chan struct{} { return nil }

// Term is Intake's.
func (r *rig) Term() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

// Take is Intake's.
func (r *rig) Take(_ context.Context, b *DeviceBatch) {
	r.mu.Lock()
	next, ids := string(b.In.Next), idsOf(b)
	r.taken = append(r.taken, next)
	keep := r.keep != nil && r.keep(b)
	var err error
	if r.refuse != nil {
		err = r.refuse(b)
	}
	answer := func(err error) {
		if err == nil {
			r.mu.Lock()
			r.stored = append(r.stored, ids...)
			if next != "" {
				r.position = next
			}
			r.mu.Unlock()
		}
		b.Answer(err)
	}
	if keep {
		r.late[next] = answer
	}
	r.mu.Unlock()
	if !keep {
		answer(err)
	}
}

func idsOf(b *DeviceBatch) (ids []string) {
	var head wire.Head
	for _, body := range b.In.Records {
		if err := wire.Scan(body, &head); err != nil {
			panic(err)
		}
		ids = append(ids, string(head.ID))
	}
	return ids
}

func (r *rig) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rig) count(of *[]string) (n int) {
	r.set(func() { n = len(*of) })
	return n
}

// heard is what the plugin noted.
func (r *rig) heard() string {
	b, err := os.ReadFile(filepath.Join(r.Open.StateDir, "heard"))
	if err != nil {
		return ""
	}
	return string(b)
}

func (r *rig) hears(t *testing.T, words ...string) {
	t.Helper()
	want := strings.Join(words, "\n") + "\n"
	until(t, fmt.Sprintf("%q", want), func() bool { return strings.Contains(r.heard(), want) })
}

func refused(reason sdk.Reason) error {
	return &RefusedError{Reason: reason, Err: errors.New("for the test")}
}

// checkStored holds that every record up to the position is stored.
func (r *rig) checkStored(t *testing.T, size int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	for _, id := range r.stored {
		there[id] = true
	}
	last, err := strconv.Atoi(r.position)
	if err != nil {
		t.Fatalf("position %q", r.position)
	}
	for n := 1; n <= last; n++ {
		for i := range size {
			if id := fmt.Sprint(n, "-", i); !there[id] {
				t.Errorf("position %s is stored, record %s is not", r.position, id)
			}
		}
	}
}

func TestDeviceIsAcknowledgedAfterItsDataIsStored(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plugin", "window8", "polled"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, name, `{"batches":3,"size":2}`)
			r.keep = func(b *DeviceBatch) bool { return string(b.In.Next) == "2" }
			r.run(t)
			until(t, "batch 2", func() bool { return r.count(&r.taken) >= 2 })
			r.hears(t, "ack 1")
			if strings.Contains(r.heard(), "ack 2") {
				t.Error("acknowledged before it was stored")
			}
			var answer func(error)
			r.set(func() { answer = r.late["2"] })
			answer(nil)
			until(t, "ack 3", func() bool { return strings.Contains(r.heard(), "ack 3\n") })
			r.checkStored(t, 2)
		})
	}
}

func TestDeviceIsReopenedAtItsPosition(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"batches":9}`)
	r.position = "7"
	w := r.run(t)
	r.hears(t, "open at 7", "ack 8", "ack 9")
	if err := w.newest().cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.hears(t, "ack 9", "open at 9")
}

func TestStagingFolderIsEmptiedBeforeOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"batches":1}`)
	stale := filepath.Join(r.Open.StagingDir, "stale")
	if err := errors.Join(os.MkdirAll(r.Open.StagingDir, 0o700), os.WriteFile(stale, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(r.Open.StagingDir) // open, so that its number is not another's
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	before, err := folder.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r.run(t)
	r.hears(t, "ack 1")
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale attachment: %v", err)
	}
	if now, err := os.Stat(r.Open.StagingDir); err != nil || !os.SameFile(before, now) {
		t.Errorf("the folder is another one, which a full disk has no room for: %v", err)
	}
}

// A device without a negative answer is reopened, one with it is told the reason and goes on in the same stream.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		reason sdk.Reason
		hears  []string
	}{
		{"plugin", sdk.ReasonFull, []string{"ack 1", "close", "open at 1", "ack 2"}},
		{"refuser", sdk.ReasonFull, []string{"ack 1", "refuse 2 full", "ack 2"}},
		{"refuser", sdk.ReasonDisk, []string{"ack 1", "refuse 2 disk", "ack 2"}},
		{"polled", sdk.ReasonDisk, []string{"ack 1", "close", "open at 1", "ack 2"}},
	} {
		t.Run(c.name+" "+string(c.reason), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.name, `{"batches":3}`)
			once := true
			r.refuse = func(b *DeviceBatch) error {
				if string(b.In.Next) != "2" || !once {
					return nil
				}
				once = false
				return refused(c.reason)
			}
			r.run(t)
			r.hears(t, c.hears...)
			until(t, "all", func() bool { return strings.Contains(r.heard(), "ack 3\n") })
			r.checkStored(t, 1)
		})
	}
}

// With a window of 8 batches follow a refused one before the device knows: none of them may be stored.
func TestNothingBehindARefusedBatchIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, "window8", `{"batches":40}`)
	once := true
	r.refuse = func(b *DeviceBatch) error {
		if string(b.In.Next) != "5" || !once {
			return nil
		}
		once = false
		return refused(sdk.ReasonDisk)
	}
	r.run(t)
	until(t, "ack 40", func() bool { return strings.Contains(r.heard(), "ack 40\n") })
	r.checkStored(t, 1)
	var taken string
	r.set(func() { taken = strings.Join(r.taken, " ") })
	if !strings.Contains(taken, "4 5 5 6") {
		t.Errorf("taken %s: what came behind the refused 5 was taken", taken)
	}
	if !strings.Contains(r.heard(), "open at 4\n") {
		t.Errorf("heard %s", r.heard())
	}
}

// What a device brings above its burst waits in its stream, and comes.
func TestAFloodIsHeld(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"polled", "window8"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const batches, size = 200, 250
			r := newRig(t, name, fmt.Sprintf(`{"batches":%d,"size":%d}`, batches, size))
			var held atomic.Int64
			slow := func() int { // less than any machine gives, until it has held once
				if held.Load() > 0 {
					return 0
				}
				return 16 << 10
			}
			r.Pace = Pace{Rate: slow, Held: func(d time.Duration) { held.Add(int64(d)) }}
			r.run(t)
			until(t, "all", func() bool { return strings.Contains(r.heard(), fmt.Sprintf("ack %d\n", batches)) })
			r.checkStored(t, size)
			if held.Load() == 0 {
				t.Errorf("%d batches of %d records were not held", batches, size)
			}
		})
	}
}

// A batch of more than sdk.MaxBatch records comes in several messages. When the first of them is refused, the position
// in the last one must not be stored.
func TestPositionOfABatchWhoseBeginningWasRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plugin", "refuser", "window8"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 4*sdk.MaxBatch + 1
			r := newRig(t, name, `{"batches":3,"size":`+strconv.Itoa(size)+`}`)
			refusals := 0
			r.refuse = func(b *DeviceBatch) error {
				if len(b.In.Next) == 0 && string(r.position) == "1" && refusals == 0 {
					refusals++
					return refused(sdk.ReasonDisk)
				}
				return nil
			}
			r.run(t)
			until(t, "ack 3", func() bool { return strings.Contains(r.heard(), "ack 3\n") })
			r.checkStored(t, size)
		})
	}
}

// The term of a batch is that in which what it rests on was sent, else that of now: what follows a batch whose group has
// failed is refused even before the device's side knows, and another device's failure does not reopen a quiet one.
func TestTerms(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plugin", "window8"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, name, `{"batches":20}`)
			r.keep = func(b *DeviceBatch) bool {
				fails := string(b.In.Next) == "3" && r.term == 1
				if fails {
					r.term = 2 // its group has failed, and it is not told yet
				}
				return fails
			}
			r.refuse = func(b *DeviceBatch) error {
				if b.Term != r.term {
					return refused(sdk.ReasonDisk)
				}
				if string(b.In.Next) == "9" && r.term == 2 {
					r.term = 3 // another device's group fails
				}
				return nil
			}
			r.run(t)
			var answer func(error)
			until(t, "batch 3", func() bool { r.set(func() { answer = r.late["3"] }); return answer != nil })
			if name == "window8" {
				until(t, "batch 4", func() bool { return r.count(&r.taken) >= 4 })
			}
			answer(refused(sdk.ReasonDisk))
			until(t, "ack 20", func() bool { return strings.Contains(r.heard(), "ack 20\n") })
			r.checkStored(t, 1)
			if n := strings.Count(r.heard(), "open at"); name == "plugin" && n != 2 {
				t.Errorf("opened %d times, want 2: %s", n, r.heard())
			}
		})
	}
}

// While a batch is open, what comes behind it has its term, so that the spool refuses it when the open one has failed.
func TestTermOfWhatRestsOnAnOpenBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, "window8", `{"batches":20}`)
	r.keep = func(*DeviceBatch) bool { return len(r.taken) <= 8 }
	r.refuse = func(b *DeviceBatch) error {
		if b.Term != r.term {
			return refused(sdk.ReasonDisk)
		}
		return nil
	}
	r.run(t)
	until(t, "a full window", func() bool { return r.count(&r.taken) == 8 })
	var late map[string]func(error)
	r.set(func() { r.term, late = 2, r.late }) // the group of 3 to 8 has failed, and they are not told yet
	late["1"](nil)
	late["2"](nil)
	until(t, "the batch behind them", func() bool { return r.count(&r.taken) > 8 })
	for n := 3; n <= 8; n++ {
		late[strconv.Itoa(n)](refused(sdk.ReasonDisk))
	}
	until(t, "ack 20", func() bool { return strings.Contains(r.heard(), "ack 20\n") })
	r.checkStored(t, 1)
}

func TestLateAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, hears string }{{"refuser", "refuse 1 late"}, {"plugin", "close"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.name, `{"batches":2}`)
			r.Answer = 300 * time.Millisecond
			r.keep = func(b *DeviceBatch) bool { return string(b.In.Next) == "1" && len(r.taken) == 1 }
			r.run(t)
			r.hears(t, c.hears)
			until(t, "ack 2", func() bool { return strings.Contains(r.heard(), "ack 2\n") })
			var answer func(error)
			r.set(func() { answer = r.late["1"] })
			answer(nil) // nobody waits for it any more
		})
	}
}

// Answers may come in any order; an acknowledgement never covers a batch that has none.
func TestAcknowledgementNeverPassesAnOpenBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, "window8", `{"batches":3}`)
	r.keep = func(b *DeviceBatch) bool { return string(b.In.Next) == "1" }
	r.run(t)
	until(t, "3 batches", func() bool { return r.count(&r.stored) == 2 })
	if strings.Contains(r.heard(), "ack") {
		t.Fatalf("heard %s", r.heard())
	}
	var answer func(error)
	r.set(func() { answer = r.late["1"] })
	answer(nil)
	until(t, "ack 3", func() bool { return strings.Contains(r.heard(), "ack 3\n") })
	if strings.Contains(r.heard(), "close") {
		t.Errorf("heard %s", r.heard())
	}
}

// A session does not end before its open batches have their answers: the next one begins behind them.
func TestSessionEndsBehindItsBatches(t *testing.T) {
	t.Parallel()
	r := newRig(t, "window8", `{"batches":3}`)
	r.Answer = time.Hour
	r.keep = func(b *DeviceBatch) bool { return string(b.In.Next) == "3" }
	w := r.run(t)
	until(t, "3 batches", func() bool { return r.count(&r.taken) == 3 && r.count(&r.stored) == 2 })
	var answer func(error)
	r.set(func() { answer = r.late["3"] })
	ended := make(chan struct{})
	go func() { w.stop(); close(ended) }()
	select {
	case <-ended:
		t.Error("it ended with a batch that has no answer")
	case <-time.After(time.Second):
	}
	answer(nil)
	<-ended
	if got := string(r.Position("")); got != "3" {
		t.Errorf("position %s", got)
	}
}

// A panic over a batch is the device's failure, not the host's.
func TestPanicOverABatch(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plugin", "polled"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, name, `{"batches":2}`)
			boom := &panics{rig: r}
			r.Intake = boom
			w := r.run(t)
			w.reached(t, Up, BackingOff, Up)
			mentions(t, errors.New(w.reasons()), "panic: cannot route")
			r.hears(t, "ack 1", "ack 2")
		})
	}
}

// panics is an intake that panics over its first batch.
type panics struct {
	*rig
	called atomic.Bool
}

// Take is Intake's.
func (p *panics) Take(ctx context.Context, b *DeviceBatch) {
	if p.called.CompareAndSwap(false, true) {
		panic("cannot route")
	}
	p.rig.Take(ctx, b)
}

// every is a plan of an interval, whatever the manifest says.
func every(d time.Duration) func(time.Duration) Plan {
	return func(time.Duration) Plan { return schedule.NewPlan(schedule.Times{Every: d}, time.Now()) }
}

func TestPollOverrunsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polled", `{"mode":"slow","batches":1}`)
	r.run(t)
	r.hears(t, "nothing more") // two reads of 0.3 s, and due every 20 ms
	until(t, "overruns", func() bool { return r.over.Load() >= 20 })
}

func TestPolledDeviceWakesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polled", `{}`)
	r.Plan = every(time.Hour)
	r.run(t)
	r.hears(t, "nothing more")
	if err := os.WriteFile(filepath.Join(r.Open.StateDir, "wake"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.hears(t, "nothing more", "nothing more")
}

// A poll that does not end costs its process.
func TestPollThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polled", `{"mode":"deaf"}`)
	r.Timeout = 50 * time.Millisecond
	w := r.run(t)
	until(t, "restart", func() bool { return w.Status().Restarts > 0 })
	mentions(t, errors.New(w.reasons()), "poll did not end", wire.ErrHung.Error())
}

// Close that hangs must not hold the host.
func TestCloseThatHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "plugin", `{"mode":"hang at close","batches":1}`)
	w := r.run(t)
	r.hears(t, "ack 1")
	begin := time.Now()
	w.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stop took %s", took)
	}
	if s := w.newest().cmd.ProcessState; s == nil {
		t.Error("the process is still there")
	}
}
