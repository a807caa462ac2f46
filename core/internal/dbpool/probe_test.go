package dbpool_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
)

// answering is a server that takes one connection after the other and leaves the answer to the first message to say.
func answering(t *testing.T, say func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			say(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// refusing answers a PostgreSQL login with the error of the code (PostgreSQL documentation, Message Formats).
func refusing(code string) func(net.Conn) {
	return func(c net.Conn) {
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if binary.BigEndian.Uint32(head[4:]) == 80877103 { // SSLRequest
			if _, err := c.Write([]byte("N")); err != nil {
				return
			}
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
		}
		rest := make([]byte, binary.BigEndian.Uint32(head)-8)
		if _, err := io.ReadFull(c, rest); err != nil {
			return
		}
		body := "SFATAL\x00VFATAL\x00C" + code + "\x00Mno entry for hunter2\x00\x00"
		out := binary.BigEndian.AppendUint32([]byte("E"), uint32(len(body)+4))
		_, _ = c.Write(append(out, body...)) // the client may be gone
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestProbe: each thing that keeps a host from its server has its own sentence, and none has a secret in it.
func TestProbe(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, c := range map[string]struct {
		addr string
		says string
	}{
		"login":          {answering(t, refusing("28P01")), "the server refused the login"},
		"database":       {answering(t, refusing("3D000")), "there is no such database on the server"},
		"nobody":         {closedPort(t), "nobody listens there"},
		"another":        {answering(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), "check that what listens there is such a server"},
		"not answering":  {answering(t, func(net.Conn) { <-hang }), "no answer within 300ms"},
		"no such driver": {"", `driver "oracle" is not known`},
		"bad dsn":        {"hunter2:x:y", "the dsn cannot be read"},
	} {
		o := dbpool.Options{Driver: "postgres", DSN: "postgres://app:hunter2@" + c.addr + "/emr", ConnectTimeout: 20 * time.Second}
		switch name {
		case "not answering":
			o.ConnectTimeout = 300 * time.Millisecond
		case "no such driver":
			o.Driver = "oracle"
		}
		err := dbpool.Probe(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "login" && (err == nil || !strings.HasPrefix(err.Error(), "open database "+c.addr+"/emr: ")) {
			t.Errorf("%s does not say where: %v", name, err)
		}
	}
}

func TestProbeOfAServerThatIsThere(t *testing.T) {
	o := postgresOf(t).fresh(t, dbpool.Options{})
	if err := dbpool.Probe(t.Context(), o); err != nil {
		t.Error(err)
	}
}
