package host

import (
	"context"
	"log/slog"

	"github.com/hostd/hostd/core/internal/dispatch"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk/exam"
)

// heldReason is why an exam is held back.
const heldReason = "the exam names no patient: it waits until it is assigned"

// holding keeps exams without a patient back from one sink.
type holding struct {
	spool *spool.Spool
	sink  spool.SinkID
	log   *slog.Logger
	head  wire.Head // of Look
}

// Look is dispatch.Holding's. What cannot be read is the sink's matter.
func (h *holding) Look(ref *spool.Ref) (back bool, instead string) {
	if wire.Scan(ref.Payload, &h.head) != nil || string(h.head.Kind) != exam.Kind {
		return false, ""
	}
	if h.head.Unassigned {
		return true, ""
	}
	return false, string(h.head.Amends)
}

// Hold is dispatch.Holding's.
func (h *holding) Hold(ctx context.Context, refs []spool.Ref) error {
	return h.spool.Hold(ctx, h.sink, refs, heldReason)
}

// Replaced is dispatch.Holding's: with an exam all older forms of it are replaced.
func (h *holding) Replaced(list []dispatch.Replaced) error {
	type name struct{ device, id string }
	by := map[name]uint64{}
	for _, r := range list {
		by[name{r.Device, r.ID}] = r.By
	}
	var head wire.Head
	return h.spool.Replace(h.sink, func(l *spool.DeadLetter) bool {
		if wire.Scan(l.Payload, &head) != nil {
			return false
		}
		return l.Seq < by[name{l.Device, string(head.ID)}] || l.Seq < by[name{l.Device, string(head.Amends)}]
	})
}

// Release is dispatch.Holding's.
func (h *holding) Release(ctx context.Context) error {
	n, err := h.spool.Release(ctx, h.sink)
	if n > 0 {
		h.log.Info("exams that were held back are delivered", "records", n)
	}
	return err
}
