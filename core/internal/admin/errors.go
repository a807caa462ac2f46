package admin

import "errors"

// ErrListen is a listen address that the host cannot have: in use, or not its own.
var ErrListen = errors.New("cannot listen")

// ErrAddress is a listen address that must not be used: malformed, or open to the network.
var ErrAddress = errors.New("listen address is not allowed")

// ErrOperation is an operation that the host does not have.
var ErrOperation = errors.New("no such operation")

// ErrArguments is an operation's arguments that it cannot read.
var ErrArguments = errors.New("arguments cannot be read")

// ErrUnreachable is returned by Client when nothing answers at the address: most often hostd is not running.
var ErrUnreachable = errors.New("hostd does not answer")
