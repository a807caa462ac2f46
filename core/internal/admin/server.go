package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hostd/hostd/core/internal/durable"
	"github.com/hostd/hostd/core/internal/life"
)

// Limits of the server. They suit a page and a few scripts on the same machine.
const (
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	shutdownGrace = 2 * time.Second
	maxHeader     = 16 << 10 // bytes
	maxBody       = 64 << 10 // bytes
)

// Options of a Server. Listen, Source and Log are required.
type Options struct {
	Listen    string // host:port, loopback; port 0 takes a free one
	Source    Source
	Log       *slog.Logger
	TokenFile string // holds the token that changing calls need; made at Open when absent; empty allows no changing call
	Stop      func() // begins the host's orderly end, for /api/v1/stop; called at most once a request; nil: there is no such call
	Operate   Operate
}

// Operate does what an operator asks for: the name of an operation and its arguments as one JSON object. The answer
// becomes JSON. ErrOperation and ErrArguments tell the caller that he was not understood; any other error is the
// operation's. It is called beside itself and may take long; ctx ends when the caller has gone. Nil: there is no such call.
type Operate func(ctx context.Context, name string, args []byte) (answer any, err error)

// Server answers HTTP on one loopback address.
type Server struct {
	opt   Options
	http  *http.Server
	token string
	ln    net.Listener // set by Open
}

// New checks the options; it starts nothing. An error wraps ErrAddress.
func New(opt Options) (*Server, error) {
	if err := CheckListen(opt.Listen); err != nil {
		return nil, err
	}
	s := &Server{opt: opt}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// CheckListen says why an address may not be listened on; nil means that it is on loopback. The error wraps ErrAddress.
func CheckListen(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("check admin.listen: %w: %q is not host:port, write for example 127.0.0.1:8480", ErrAddress, addr)
	}
	if !loopback(host) {
		return fmt.Errorf("check admin.listen: %w: %q can be reached from the network, which needs TLS and a token; "+
			"write 127.0.0.1 as the host, and use an SSH tunnel or a proxy with its own login to see the page from elsewhere", ErrAddress, addr)
	}
	return nil
}

// loopback is true of localhost and of an address that never leaves the machine.
func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Open takes the port and reads or makes the token. An error about the port wraps ErrListen and says what to check.
func (s *Server) Open(ctx context.Context) error {
	if s.opt.TokenFile != "" {
		token, err := readToken(s.opt.TokenFile)
		if err != nil {
			return err
		}
		s.token = token
	}
	ln, err := listen(ctx, s.opt.Listen)
	s.ln = ln
	return err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open admin page: %w: %s", ErrListen, hint(addr, err))
	}
	return ln, nil
}

// CheckPort says why a Server could not be opened at the address, in the words of New and Open; nil means that it could.
func CheckPort(ctx context.Context, addr string) error {
	if err := CheckListen(addr); err != nil {
		return err
	}
	ln, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	return ln.Close()
}

const wsaAddrInUse = syscall.Errno(10048) // Windows' number for EADDRINUSE

func hint(addr string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaAddrInUse) {
		return addr + " is in use by another program, perhaps another hostd: end it, or change admin.listen"
	}
	return err.Error()
}

// minToken is the fewest characters of a token that is taken.
const minToken = 16

// readToken reads the token, and makes it for the owner alone when there is none. What is no token, such as the zeros that
// a power cut can leave, is replaced: the host must start.
func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read admin token: %w", err)
	}
	if text := strings.TrimSpace(string(b)); len(text) >= minToken && strings.IndexFunc(text, notToken) < 0 {
		return text, nil
	}
	token := rand.Text()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make admin token: %w", err)
	}
	if err := durable.WriteFile(path, []byte(token+"\n")); err != nil {
		return "", fmt.Errorf("make admin token: %w", err)
	}
	return token, nil
}

// notToken is true of what a header cannot carry.
func notToken(r rune) bool { return r <= ' ' || r > '~' }

// Addr is the address in use, with its port; empty before Open.
func (s *Server) Addr() string {
	if s.ln == nil {
		return ""
	}
	return s.ln.Addr().String()
}

// Run answers until ctx ends, then gives running requests 2 s. It returns nil then, and otherwise why it ended. Open
// comes before it, and Run may be called once.
func (s *Server) Run(ctx context.Context) error {
	g := life.NewGroup(ctx)
	g.Go("serve", func(context.Context) error { return s.http.Serve(s.ln) })
	select {
	case err := <-g.Failed():
		return fmt.Errorf("run admin page: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		err = s.http.Close() // a peer that does not read must not hold the host
		s.opt.Log.Debug("admin page closed with requests open", "err", err)
	}
	if err := g.Wait(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop admin page: %w", err)
	}
	return nil
}

// Close gives the port back. It is for a Server that was opened and never run; after Run it does nothing.
func (s *Server) Close() error {
	if s.ln == nil {
		return nil
	}
	if err := s.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close admin page: %w", err)
	}
	return nil
}
