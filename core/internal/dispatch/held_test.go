package dispatch_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

// holding keeps every third record back, on the rig's spool; instead says what a record takes the place of.
type holding struct {
	r        *rig
	instead  map[string]string
	fail     func() error // of Hold and Release
	replaced error        // of Replaced
}

func (h *holding) Look(ref *spool.Ref) (back bool, instead string) {
	n, err := strconv.Atoi(string(ref.Payload))
	return err == nil && n%3 == 0, h.instead[string(ref.Payload)]
}

func (h *holding) Hold(ctx context.Context, refs []spool.Ref) error {
	if h.fail != nil {
		if err := h.fail(); err != nil {
			return err
		}
	}
	return h.r.spool.Hold(ctx, h.r.id, refs, "no patient")
}

func (h *holding) Replaced(list []dispatch.Replaced) error {
	if h.replaced != nil {
		return h.replaced
	}
	return h.r.spool.Replace(h.r.id, func(l *spool.DeadLetter) bool {
		for _, r := range list {
			if r.ID == string(l.Payload) && r.Device == l.Device && l.Seq < r.By {
				return true
			}
		}
		return false
	})
}

func (h *holding) Release(ctx context.Context) error {
	if h.fail != nil {
		if err := h.fail(); err != nil {
			return err
		}
	}
	_, err := h.r.spool.Release(ctx, h.r.id)
	return err
}

// holdingRig is a lane that holds back, or that has done so in an earlier life.
func holdingRig(t *testing.T, dir string, o dispatch.Options) (*rig, *holding) {
	t.Helper()
	h := &holding{}
	o.Holding = h
	h.r = newRigIn(t, dir, spool.Options{}, o)
	return h.r, h
}

func (r *rig) held() (out []string) {
	r.t.Helper()
	for l, err := range r.spool.Held("emr") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, string(l.Payload))
	}
	return out
}

// What is held back is not sent, stops nothing behind it, is settled in its order, and is there after a restart; a lane that
// holds nothing back delivers it, in order, behind what came before.
func TestHeldBackAndReleased(t *testing.T) {
	for _, size := range []int{1, 2, 100} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			r, _ := holdingRig(t, dir, dispatch.Options{Records: size, HoldBack: true})
			r.put(10)
			c := newConn(nil)
			stop := r.deliver(c)
			time.Sleep(time.Minute)
			same(t, "stored", c.stored(), []string{"1", "2", "4", "5", "7", "8", "10"})
			same(t, "held", r.held(), []string{"3", "6", "9"})
			r.put(2) // 11, and 12 alone at the end
			time.Sleep(time.Minute)
			ended(t, stop())
			same(t, "held", r.held(), []string{"3", "6", "9", "12"})
			if k := r.spool.Stats().Sinks[r.id]; k.Delivered != 8 || k.Held != 4 || k.Backlog != 0 || c.settled > len(c.sent) {
				t.Errorf("%+v, %d batches settled of %d", k, c.settled, len(c.sent))
			}
			r.stop()

			r, h := holdingRig(t, dir, dispatch.Options{Records: size})
			defer r.stop()
			tries := 0
			h.fail = func() error {
				if tries++; tries < 3 {
					return spool.ErrCap
				}
				return nil
			}
			c = newConn(nil)
			stop = r.deliver(c)
			time.Sleep(time.Minute)
			ended(t, stop())
			same(t, "stored", c.stored(), []string{"3", "6", "9", "12"})
			same(t, "held", r.held(), nil)
		})
	}
}

// A record is not held before the sink has what came before it, also where nothing else is in its batch.
func TestHeldInItsTurn(t *testing.T) {
	for _, size := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			r, h := holdingRig(t, t.TempDir(), dispatch.Options{Records: size, HoldBack: true})
			defer r.stop()
			r.put(6)
			var healed atomic.Bool
			c := newConn(func(b batch) (dispatch.Outcome, error) {
				if b.texts[len(b.texts)-1] == "2" && !healed.Load() {
					return failure(sdk.ClassBusy, "away")
				}
				return dispatch.Outcome{}, nil
			})
			stop := r.deliver(c)
			time.Sleep(time.Minute)
			same(t, "held while the sink is away", r.held(), nil)
			healed.Store(true)
			time.Sleep(time.Minute)
			same(t, "held", r.held(), []string{"3", "6"})
			same(t, "stored", c.stored(), []string{"1", "2", "4", "5"})
			ended(t, stop())

			r.put(3)
			h.fail = func() error { return spool.ErrFull }
			if err := r.lane.Deliver(t.Context(), newConn(nil)); !errors.Is(err, spool.ErrFull) {
				t.Errorf("Deliver = %v, want ErrFull", err)
			}
			h.fail = nil
			stop = r.deliver(newConn(nil))
			time.Sleep(time.Minute)
			ended(t, stop())
			same(t, "held", r.held(), []string{"3", "6", "9"})
		})
	}
}

// What takes the place of a held record ends the wait when the sink has it, and not when the sink refuses it. When that cannot be
// written, all comes again, and nothing is held twice.
func TestReplacedWhenTheSinkHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, h := holdingRig(t, t.TempDir(), dispatch.Options{HoldBack: true})
		defer r.stop()
		h.instead = map[string]string{"7": "3", "8": "6", "10": "12"}
		r.put(12)
		c := newConn(func(b batch) (dispatch.Outcome, error) {
			for i, text := range b.texts {
				if text == "8" {
					return dispatch.Outcome{Refused: []dispatch.Refusal{{Index: i, Reason: "no such patient"}}}, nil
				}
			}
			return dispatch.Outcome{}, nil
		})
		h.replaced = spool.ErrFull
		if err := r.lane.Deliver(t.Context(), c); !errors.Is(err, spool.ErrFull) {
			t.Errorf("Deliver = %v, want ErrFull", err)
		}
		same(t, "held", r.held(), []string{"3", "6", "9", "12"})
		h.replaced = nil
		c = newConn(c.write)
		stop := r.deliver(c)
		time.Sleep(time.Minute)
		ended(t, stop())
		same(t, "held", r.held(), []string{"6", "9", "12"}) // 12 came after 10
		if all := strings.Join(r.dead(), " "); !strings.HasPrefix(all, "8: ") {
			t.Errorf("dead %s", all)
		}
	})
}

// A crash with held records in the same lease blames the one that was sent.
func TestCrashBesideHeldRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := holdingRig(t, t.TempDir(), dispatch.Options{HoldBack: true})
		defer r.stop()
		r.put(4)
		for range 12 {
			c := newConn(func(b batch) (dispatch.Outcome, error) {
				if strings.Contains(" "+b.String()+" ", " 2 ") {
					return dispatch.Outcome{}, errBroken
				}
				return dispatch.Outcome{}, nil
			})
			stop := r.deliver(c)
			time.Sleep(time.Second)
			if err := stop(); !errors.Is(err, errBroken) {
				break
			}
		}
		same(t, "dead", r.dead(), []string{"2: sink crashed (3)"})
		same(t, "held", r.held(), []string{"3"})
		if k := r.spool.Stats().Sinks[r.id]; k.Delivered != 2 || k.Backlog != 0 {
			t.Errorf("%+v", k)
		}
	})
}
