package main

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/hostd/hostd/core/sdk"
)

// quiet is how long events are gathered before the device is woken.
const quiet = 250 * time.Millisecond

// watch wakes the device when the file system says that something came, and when a file will have settled. Without
// events, as on most shares, the schedule's scans find everything, too.
func (d *folder) watch(ctx context.Context) error {
	events, faults, stop := d.events()
	defer stop()
	return d.gather(ctx, events, faults)
}

// gather wakes the device a little after the first of some events, or at the time that ring asked for.
func (d *folder) gather(ctx context.Context, events <-chan fsnotify.Event, faults <-chan error) error {
	alarm := time.NewTimer(time.Hour)
	alarm.Stop()
	var at time.Time // when alarm goes off; zero is not at all
	for {
		in := time.Duration(-1)
		select {
		case <-ctx.Done():
			return nil
		case in = <-d.alarm:
		case e, ok := <-events:
			if !ok {
				events = nil
			}
			if ok && e.Op&(fsnotify.Create|fsnotify.Write) != 0 {
				in = quiet
			}
		case _, ok := <-faults: // events were lost: look at once
			if !ok {
				faults = nil
			}
			in = quiet
		case <-alarm.C:
			at = time.Time{}
			d.env.Wake()
		}
		if next := time.Now().Add(in); in >= 0 && (at.IsZero() || next.Before(at)) {
			at = next
			alarm.Reset(in)
		}
	}
}

// events gives the file system's, or nil channels where it has none.
func (d *folder) events() (events <-chan fsnotify.Event, faults <-chan error, stop func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		d.env.Log.Debug("no events of the file system: the schedule decides", "err", err)
		return nil, nil, func() {}
	}
	stop = func() {
		if err := w.Close(); err != nil {
			d.env.Log.Debug("close watcher", "err", sdk.Cause(err))
		}
	}
	if err := w.Add(d.Dir); err != nil {
		d.env.Log.Debug("no events of this folder: the schedule decides", "err", sdk.Cause(err))
	}
	return w.Events, w.Errors, stop
}
