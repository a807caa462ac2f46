package logs

import (
	"sync"
	"time"
)

// Limits of what one plugin may log.
const (
	pluginRate  = 200  // lines a second
	pluginBurst = 1000 // lines at once
	reportAfter = 10 * time.Second
)

// bucket holds a token for each line that a plugin may log now.
type bucket struct {
	mu      sync.Mutex
	tokens  float64   // guarded by mu
	filled  time.Time // guarded by mu: when tokens were counted last
	dropped uint64    // guarded by mu: lines that are not reported yet
	since   time.Time // guarded by mu: when the first of them was dropped
}

func newBucket() *bucket { return &bucket{tokens: pluginBurst, filled: time.Now()} }

// take says whether a line may pass. Report is the number of dropped lines that is now to be told: when it has eased,
// or every 10 s while it goes on.
func (b *bucket) take(now time.Time) (ok bool, report uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(pluginBurst, b.tokens+max(now.Sub(b.filled).Seconds(), 0)*pluginRate)
	b.filled = now
	if b.tokens < 1 {
		if b.dropped == 0 {
			b.since = now
		}
		b.dropped++
		return false, 0
	}
	if b.dropped > 0 && (b.tokens >= pluginBurst/2 || now.Sub(b.since) >= reportAfter) {
		report, b.dropped = b.dropped, 0
	}
	b.tokens--
	return true, report
}
