package line_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/line"
)

// TestGate counts who may come in.
func TestGate(t *testing.T) {
	g, err := line.NewGate([]string{"10.1.0.0/16", "192.0.2.7", "::1", "::ffff:198.51.100.0/120"}, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ peer, want string }{
		{"10.2.0.1", line.NotAllowed},
		{"10.1.0.1", ""},
		{"10.1.0.1", ""},
		{"10.1.0.1", line.TooManyEach},
		{"198.51.100.9", ""},
		{"192.0.2.7", line.TooMany},
		{"192.0.2.8", line.NotAllowed},
	} {
		if got := g.Enter(netip.MustParseAddr(c.peer)); got != c.want {
			t.Errorf("%d: %s: %q, want %q", i, c.peer, got, c.want)
		}
	}
	g.Leave(netip.MustParseAddr("10.1.0.1"))
	if got := g.Enter(netip.MustParseAddr("::1")); got != "" {
		t.Errorf("after one has left: %s", got)
	}
	if _, err := line.NewGate([]string{"10.1.0.0/16", "hospital"}, 1, 1); err == nil || !strings.Contains(err.Error(), "allow[1]") || strings.Contains(err.Error(), "hospital") {
		t.Errorf("a name: %v", err)
	}
}
