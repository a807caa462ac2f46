package dbpool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
)

// Drivers are the databases that there are a dialect for.
func Drivers() []string { return drivers() }

// Probe connects to the database, logs in and goes, within ConnectTimeout. The error says what to check, in a sentence that
// has no secret in it. It is for servers: of a file it would make one.
func Probe(ctx context.Context, o Options) error {
	d, err := filled(&o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	db, err := d.look(ctx, &o, onlyRead)
	if err != nil {
		return fmt.Errorf("open database %s: %w", d.place(&o), err)
	}
	return db.Close()
}

// refusedOnWindows is WSAECONNREFUSED.
const refusedOnWindows = syscall.Errno(10061)

// unreached says why a server was not reached, without the driver's words, which may quote the login.
func unreached(ctx context.Context, err error, o *Options) string {
	var unknown *net.DNSError
	var certificate *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.As(err, &unknown):
		return "no server of this name is known here; check the name in database.dsn, and this computer's network"
	case errors.Is(err, syscall.ECONNREFUSED), runtime.GOOS == "windows" && errors.Is(err, refusedOnWindows):
		return "nobody listens there; check that the server runs and takes connections over TCP, and host and port in database.dsn"
	case errors.As(err, &certificate):
		return "the server's certificate is not trusted by this computer; install the one that signed it, or say in database.dsn how to check it"
	case ctx.Err() != nil, errors.As(err, &slow) && slow.Timeout():
		return fmt.Sprintf("no answer within %s; check host and port in database.dsn, the firewall, and whether the server hangs", o.ConnectTimeout)
	}
	return "the connection failed; check that what listens there is such a server, and the encryption that database.dsn asks for"
}
