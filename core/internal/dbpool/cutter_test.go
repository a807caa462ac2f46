package dbpool_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// cutter is a relay to a server that cuts a connection when a word passes, once it is armed.
type cutter struct {
	dsn     string
	armed   atomic.Bool
	word    string
	arrives bool // the server gets it, and its answer is lost
	server  string
	wg      sync.WaitGroup
}

func newCutter(t *testing.T, dsn, word string, arrives bool) *cutter {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{word: word, arrives: arrives, server: u.Host}
	u.Host = l.Addr().String()
	c.dsn = u.String()
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.relay(in) })
		}
	})
	t.Cleanup(func() { l.Close(); c.wg.Wait() })
	return c
}

func (c *cutter) relay(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer out.Close()
	var cut atomic.Bool
	ended := make(chan struct{}) // the server's side: an answer came after the cut, or it is gone
	c.wg.Go(func() {
		defer close(ended)
		defer in.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := out.Read(buf)
			if err != nil || cut.Load() {
				return
			}
			if _, err := in.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte(c.word)) && c.armed.CompareAndSwap(true, false) {
			cut.Store(true)
			if c.arrives {
				out.Write(buf[:n])
				<-ended
			}
			return
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}
