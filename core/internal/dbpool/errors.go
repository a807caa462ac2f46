package dbpool

import (
	"context"
	"errors"
	"fmt"

	"github.com/hostd/hostd/core/sdk"
)

// Errors that callers branch on, found with errors.Is. Each also has its class, see sdk.ClassOf.
var (
	// ErrBusy says that no lease came free in time; the text names who holds them. Nothing was sent.
	ErrBusy = errors.New("no free connection")
	// ErrStopped says that the pool is not running any more. Nothing was sent.
	ErrStopped = errors.New("database pool has stopped")
	// ErrAbandoned says that the database did not answer within the operation's time, nor to its cancelling. What was
	// asked may have happened.
	ErrAbandoned = errors.New("database did not answer and was abandoned")
	// ErrDown says that the server was lost and a probe has not found it again. Nothing was sent.
	ErrDown = errors.New("database is unavailable")
	// ErrTooMuch says that an answer is larger than its limit. It is never cut.
	ErrTooMuch = errors.New("answer is too large")
	// ErrDuplicate says that a row with the same key is there.
	ErrDuplicate = errors.New("duplicate key")
	// ErrFull says that the disk with the database is full. Nothing was stored; it may be tried again when there is space.
	ErrFull = errors.New("database disk is full")
	// ErrDamaged says that the database file is damaged or its disk fails: somebody has to look at it.
	ErrDamaged = errors.New("database is damaged")
	// ErrRefused says that the request itself cannot be run: a name, a value or a statement in it.
	ErrRefused = errors.New("request refused")
)

// refused is a permanent error about the request itself; its arguments must not be values.
func refused(format string, args ...any) error {
	return sdk.Permanent(fmt.Errorf(format+": %w", append(args, ErrRefused)...))
}

// Errors that only this package branches on.
var (
	errReadOnly = errors.New("only reading is allowed")
	errTwice    = errors.New("one statement would write a row twice")
)

// faultError is a driver's error without its words, which may hold values of rows.
type faultError struct {
	text  string
	fault fault
}

// Error is our own text for the driver's error.
func (e *faultError) Error() string { return e.text }

// Unwrap gives the sentinel, if the error has one.
func (e *faultError) Unwrap() error { return e.fault.is }

// clean replaces a driver's error by one of ours with its class. known are words that may be quoted from the driver's
// text: the statement without its literals.
func (d *dialect) clean(ctx context.Context, doing string, err error, known string) error {
	switch {
	case err == nil:
		return nil
	case sdk.ClassOf(err) != sdk.ClassNone, isClean(err):
		return err
	}
	f := d.fault(err, known)
	ended := ctx.Err()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		ended = context.DeadlineExceeded
	case errors.Is(err, context.Canceled) && ended == nil:
		ended = context.Canceled
	case f.text != "" && f.class != sdk.ClassUnavailable:
		ended = nil // the database has answered before it noticed
	}
	switch {
	case ended == context.DeadlineExceeded:
		return sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("%s: not done within the operation's time: %w", doing, ended))
	case ended != nil:
		return sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("%s: %w", doing, ended))
	case f.text == "":
		return sdk.WithClass(sdk.ClassUnavailable, &faultError{text: doing + ": the connection to the database failed", fault: f})
	}
	return sdk.WithClass(f.class, &faultError{text: doing + ": " + f.text, fault: f})
}

func isClean(err error) bool {
	var f *faultError
	return errors.As(err, &f)
}

// cause is what the driver's error meant that err was made of.
func cause(err error) fault {
	var f *faultError
	if errors.As(err, &f) {
		return f.fault
	}
	return fault{}
}
