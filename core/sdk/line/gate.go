package line

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Gate decides which peers may be connected to a port of this computer. Its methods may be called from any goroutine.
type Gate struct {
	allow      []netip.Prefix // empty is everybody
	most, each int

	mu    sync.Mutex
	of    map[netip.Addr]int // guarded by mu: connections by address
	count int                // guarded by mu
}

// Why Enter turns a peer away; for a log.
const (
	NotAllowed  = "a peer outside of the allow-list was turned away"
	TooMany     = "a peer was turned away: max_connections are open"
	TooManyEach = "a peer was turned away: max_per_address connections of it are open"
)

// NewGate makes a gate for peers of the addresses and networks in allow ("192.168.1.7", "192.168.1.0/24"), of whom at most connections
// are there at once, and each of one address. An empty allow is everybody. An error names the entry of allow by its place.
func NewGate(allow []string, most, each int) (*Gate, error) {
	g := &Gate{most: most, each: each, of: map[netip.Addr]int{}}
	for i, text := range allow {
		p, err := ParseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("allow[%d]: must be an address or a network such as 192.168.1.0/24", i)
		}
		g.allow = append(g.allow, p)
	}
	return g, nil
}

// Enter counts a connection of the peer in, or says why it must not be; the text is one of the constants above. A peer that was
// let in is counted out with Leave.
func (g *Gate) Enter(peer netip.Addr) (refusal string) {
	allowed := len(g.allow) == 0
	for _, p := range g.allow {
		allowed = allowed || p.Contains(peer)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !allowed:
		return NotAllowed
	case g.count >= g.most:
		return TooMany
	case g.of[peer] >= g.each:
		return TooManyEach
	}
	g.count++
	g.of[peer]++
	return ""
}

// Leave counts a connection out that Enter has let in.
func (g *Gate) Leave(peer netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.of[peer]--; g.of[peer] == 0 {
		delete(g.of, peer)
	}
}

// ParseNetwork reads an address or a network (CIDR) as Peer gives addresses: an IPv4 one within IPv6 is IPv4.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if a := p.Addr(); err == nil && a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), err
}

// Peer is the address of the other end of a TCP connection, IPv4 where it is that; the zero Addr for other connections.
func Peer(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
