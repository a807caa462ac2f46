package sdk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Class says what an error means for trying again. It survives the wire.
type Class int

// Classes of errors.
const (
	ClassNone        Class = iota // not classed: tried again, isolated, dead-lettered when alone after 5 tries
	ClassPermanent                // trying again cannot cure it
	ClassBusy                     // locked, deadlock, queue full: tried again for ever
	ClassUnavailable              // connection, login, timeout, host stopping: tried again for ever
	ClassUnknown                  // sent, and no answer: may or may not have happened; tried again for ever
)

var classNames = [...]string{"none", "permanent", "busy", "unavailable", "unknown"}

// String is the class in one word.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class(%d)", int(c))
	}
	return classNames[c]
}

// Error is an error with its class.
type Error struct {
	Class Class
	Err   error
}

// Error is the text of the wrapped error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// WithClass marks err; nil stays nil.
func WithClass(c Class, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: c, Err: err}
}

// Permanent marks err as one that trying again cannot cure: the record becomes a dead letter. Every unmarked error is
// tried again. The text is kept with the dead letter and shown: no patient data in it.
func Permanent(err error) error { return WithClass(ClassPermanent, err) }

// ClassOf is the class of the outermost mark in err's chain, or ClassNone.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassNone
}

// Cause is err without the name of a file that is in it, for logs: the name of an exam's file may be a patient's.
func Cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// RecordErrors tells Write's caller which records (by index) will never be stored, and why; all others were stored.
type RecordErrors map[int]error

// Error counts the records and quotes the first.
func (e RecordErrors) Error() string {
	if len(e) == 0 {
		return "no record failed"
	}
	first := -1
	for i := range e {
		if first < 0 || i < first {
			first = i
		}
	}
	return fmt.Sprintf("%d records refused; record %d: %v", len(e), first, e[first])
}

// Indexes gives the refused records in order.
func (e RecordErrors) Indexes() []int {
	at := make([]int, 0, len(e))
	for i := range e {
		at = append(at, i)
	}
	slices.Sort(at)
	return at
}

// ChangeError says which change of a Store.Write failed; none was applied.
type ChangeError struct {
	Index int // in the call's changes, from 0
	Err   error
}

// Error names the change and the cause.
func (e *ChangeError) Error() string { return fmt.Sprintf("change %d: %v", e.Index, e.Err) }

// Unwrap gives the cause, with its class.
func (e *ChangeError) Unwrap() error { return e.Err }
