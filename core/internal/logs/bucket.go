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

// take says whether a line may pass. With one that may, dropped is the number of lines that is now to be told: when it has
// eased, or every 10 s while it goes on. With one that may not, it is how many are not told so far, this one included.
func (b *bucket) take(now time.Time) (ok bool, dropped uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if untold := b.refuse(now); untold > 0 {
		return false, untold
	}
	dropped = b.report(now)
	b.tokens--
	return true, dropped
}

// peek drops a line that may not pass, as take does, and gives 0 for one that may, which it does not count.
func (b *bucket) peek(now time.Time) (untold uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refuse(now)
}

// refuse counts a line that may not pass; 0 is one that may. b.mu is held.
func (b *bucket) refuse(now time.Time) (untold uint64) {
	b.fill(now)
	if b.tokens >= 1 {
		return 0
	}
	if b.dropped == 0 {
		b.since = now
	}
	b.dropped++
	return b.dropped
}

// told gives the number of dropped lines that is now to be told without another line, and how many are left to be told later.
func (b *bucket) told(now time.Time) (dropped, left uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	dropped = b.report(now)
	return dropped, b.dropped
}

// fill counts the tokens since it did last. b.mu is held, as it is for report.
func (b *bucket) fill(now time.Time) {
	b.tokens = min(pluginBurst, b.tokens+max(now.Sub(b.filled).Seconds(), 0)*pluginRate)
	b.filled = now
}

func (b *bucket) report(now time.Time) (dropped uint64) {
	if b.dropped > 0 && (b.tokens >= pluginBurst/2 || now.Sub(b.since) >= reportAfter) {
		dropped, b.dropped = b.dropped, 0
	}
	return dropped
}
