package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
)

// Limits of a crash loop.
const (
	crashLimit  = 5 // crashes within crashWindow open the breaker
	crashWindow = time.Minute
	quietPeriod = 10 * time.Minute // after which an open breaker closes by itself
)

// breaker counts the crashes in a row. It belongs to one goroutine.
type breaker struct {
	crashes []time.Time // oldest first, none older than crashWindow
}

// crash counts one more, and says whether they are too many now.
func (b *breaker) crash(now time.Time) (open bool) {
	b.crashes = slices.DeleteFunc(append(b.crashes, now), func(t time.Time) bool { return now.Sub(t) > crashWindow })
	return len(b.crashes) >= crashLimit
}

// reset forgets them: the plugin has done its work in between.
func (b *breaker) reset() { b.crashes = nil }

// isCrash says whether the end of a process was one of its own making: it did not start, ended by itself, or was killed
// because it hung. Want of room at the host is not, and a file that is not there has nothing to crash.
func isCrash(err error) bool {
	var full *noRoomError
	if errors.As(err, &full) || errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return errors.Is(err, ErrStart) || errors.Is(err, wire.ErrGone) || errors.Is(err, wire.ErrHung)
}

// giveUp waits while the breaker is open: until CloseBreaker, or for the quiet period. An error is the end of ctx.
func (i *Instance) giveUp(ctx context.Context, last error) error {
	closed := make(chan struct{})
	i.mu.Lock()
	i.closed, i.wasUp = closed, false
	i.mu.Unlock()
	defer i.CloseBreaker() // nobody waits for it any more
	text := fmt.Sprintf("%d crashes within %s, so it is left alone for %s; the last: %s", crashLimit, crashWindow, quietPeriod, reason(last))
	i.set(BreakerOpen, text)
	i.log.Error("breaker open", "err", text)
	quiet := time.NewTimer(quietPeriod)
	defer quiet.Stop()
	select {
	case <-closed:
	case <-quiet.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	i.set(Starting, "")
	i.log.Info("breaker closed")
	return nil
}

// CloseBreaker has a plugin tried again at once that is BreakerOpen; with any other it does nothing.
func (i *Instance) CloseBreaker() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed != nil {
		close(i.closed)
		i.closed = nil
	}
}
