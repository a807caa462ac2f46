package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/spool"
)

// oldestFile is in the state folder of a sink that begins with the oldest record, until it was given all of them: a host
// that ends before that begins again, and the sink's receipts make of two records one.
const oldestFile = "replay-from-oldest"

// registerSink gives the sink's number in the spool. One that the spool does not know begins where its start says.
func (h *Host) registerSink(c *config.Sink, known []string) (spool.SinkID, error) {
	if c.Start == "oldest" && !slices.Contains(known, c.Name) {
		dir := h.places.stateOf("sinks", c.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return 0, Environment(fmt.Errorf("make folder: %w", err))
		}
		f, err := os.Create(filepath.Join(dir, oldestFile))
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return 0, Environment(fmt.Errorf("note the start of sink %s: %w", c.Name, err))
		}
	}
	return h.spool.RegisterSink(c.Name)
}

// sinksOf names the sinks that the spool knows.
func sinksOf(st spool.Stats) (names []string) {
	for i := range st.Sinks {
		names = append(names, st.Sinks[i].Name)
	}
	return names
}

// giveOldest gives new sinks, all or those that are named, what the spool had before them. What comes in meanwhile may be delivered
// before it.
func (h *Host) giveOldest(ctx context.Context, names []string) error {
	r := h.now()
	for i, u := range r.sinks {
		if names != nil && !slices.Contains(names, u.name) {
			continue
		}
		note := filepath.Join(h.places.stateOf("sinks", u.name), oldestFile)
		if _, err := os.Stat(note); err != nil {
			continue
		}
		n, err := h.spool.Replay(ctx, r.routing.sinks[i], spool.Pick{Match: r.routing.chosen(i, "", "")}, false)
		if err == nil {
			err = os.Remove(note)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			h.log.Error("a new sink was not given everything from the oldest record on; it is tried at the next start", "sink", u.name, "records", n, "err", err)
			continue
		}
		h.log.Info("a new sink begins with the oldest record", "sink", u.name, "records", n)
	}
	return nil
}
