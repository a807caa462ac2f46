package main

import (
	"log/slog"
	"sync"
	"time"
)

// noticeEvery is how often the log says the same again.
const noticeEvery = time.Minute

// notices are log lines about what peers do, which may be many: each kind is told once a minute, with the number of those
// that were not told.
type notices struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // guarded by mu: by text
	more map[string]int       // guarded by mu: not told since
}

func newNotices(log *slog.Logger) *notices {
	return &notices{log: log, last: map[string]time.Time{}, more: map[string]int{}}
}

// warn logs the text, which is a constant, with the attributes of this time.
func (n *notices) warn(text string, attributes ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.last[text]; ok && time.Since(last) < noticeEvery {
		n.more[text]++
		return
	}
	if n.more[text] > 0 {
		attributes = append(attributes, "more_since", n.more[text])
	}
	n.last[text], n.more[text] = time.Now(), 0
	n.log.Warn(text, attributes...)
}
