package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// gate decides who may be connected.
type gate struct {
	allow      []netip.Prefix // empty is everybody
	most, each int            // connections, in all and of one address

	mu    sync.Mutex
	of    map[netip.Addr]int // guarded by mu: connections by address
	count int                // guarded by mu
}

// Reasons why a peer is turned away.
const (
	notAllowed  = "a peer outside of the allow-list was turned away"
	tooMany     = "a peer was turned away: max_connections are open"
	tooManyEach = "a peer was turned away: max_per_address connections of it are open"
)

// enter counts a connection in, or says why it must not be.
func (g *gate) enter(a netip.Addr) (refusal string) {
	allowed := len(g.allow) == 0
	for _, p := range g.allow {
		allowed = allowed || p.Contains(a)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !allowed:
		return notAllowed
	case g.count >= g.most:
		return tooMany
	case g.of[a] >= g.each:
		return tooManyEach
	}
	g.count++
	g.of[a]++
	return ""
}

// leave counts a connection out.
func (g *gate) leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.of[a]--; g.of[a] == 0 {
		delete(g.of, a)
	}
}

// parseAllow reads addresses and CIDR ranges.
func parseAllow(list []string) (allow []netip.Prefix, err error) {
	for i, text := range list {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("allow[%d]: must be an address or a range such as 10.1.0.0/16", i)
		}
		allow = append(allow, p)
	}
	return allow, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

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
