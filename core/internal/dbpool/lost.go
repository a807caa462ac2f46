package dbpool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// connectError says that there is no connection; nothing that an operation wanted was sent.
type connectError struct {
	text string
	err  error // the end of the time, a sentinel, or a panic of ours; never the driver's own error
	lost bool  // the server cannot be reached, rather than that it refused or that the caller was in a hurry
}

// Error has no words of the driver in it.
func (e *connectError) Error() string { return "connect to database: " + e.text }

// Unwrap gives what callers know it by.
func (e *connectError) Unwrap() error { return e.err }

// failed is the error of a link that did not come to be: ended is that of its time, err the driver's.
func (l *link) failed(ended, err error) error {
	took := time.Since(l.born)
	switch {
	case errors.Is(ended, context.Canceled):
		return unconnected(&connectError{text: "the caller gave up", err: ended})
	case ended != nil:
		// A caller in a hurry says nothing about the server.
		return unconnected(&connectError{text: l.lateText(took), err: ended, lost: took >= l.gen.all.opt.bound/2})
	}
	if f := l.gen.all.opt.fault(err); f.text != "" { // the server has answered
		return sdk.WithClass(f.class, &connectError{text: f.text, err: f.is, lost: f.lost})
	}
	e := &connectError{text: unreached(err), lost: true}
	var bug *life.Panic
	if errors.As(err, &bug) {
		e.err = bug // its stack is logged
	}
	return unconnected(e)
}

func unconnected(e *connectError) error { return sdk.WithClass(sdk.ClassUnavailable, e) }

func (l *link) lateText(took time.Duration) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialled {
		return fmt.Sprintf("the server takes the connection and does not answer the login within %.1fs; it hangs or is overloaded", took.Seconds())
	}
	return fmt.Sprintf("the server is not reached within %.1fs; check that it runs, its address and the firewall", took.Seconds())
}

// refusedOnWindows is WSAECONNREFUSED.
const refusedOnWindows = syscall.Errno(10061)

// unreached words a driver's error about a server that was not reached, without any word of the driver, which may hold
// values and secrets.
func unreached(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var late net.Error
	var bug *life.Panic
	var cert *tls.CertificateVerificationError
	switch {
	case sdk.ClassOf(err) != sdk.ClassNone: // our own words
		return err.Error()
	case errors.As(err, &bug):
		return "the host has a fault here; its log has the place"
	case errors.As(err, &cert):
		return "the certificate of the server is not trusted; check it, and how the dsn says to encrypt"
	case errors.As(err, &dns):
		return "the name of the server is not known; check the address in the configuration"
	case errors.As(err, &late) && late.Timeout():
		return "the server does not answer in time; it hangs or is overloaded"
	case errors.Is(err, syscall.ECONNREFUSED), runtime.GOOS == "windows" && errors.Is(err, refusedOnWindows):
		return "the server is not reached: nobody listens there; check that it runs and takes connections over TCP, and host and port in the configuration"
	case errors.As(err, &op) && op.Op == "dial":
		return "the server is not reached; check that it runs, its address, its port and the firewall"
	default:
		return "the connection was lost in the login; check that what listens there is such a server, and how the dsn says to encrypt"
	}
}

// lost says whether an operation's error is about the server rather than about the operation: it was not reached, or
// the connection k broke under it. A driver may say so where it only could not send a value; its socket tells.
func lost(err error, k *link) bool {
	var ce *connectError
	if errors.As(err, &ce) {
		return ce.lost
	}
	return broke(err, k)
}

// broke says whether the error is that the connection to a server broke under the operation.
func broke(err error, k *link) bool { return k != nil && k.gone.Load() && cause(err).lost }
