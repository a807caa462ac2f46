package spool

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that callers branch on, found with errors.Is.
var (
	// ErrFull says that the disk has no room. Nothing was stored; it may be tried again when there is space.
	ErrFull = errors.New("disk is full")
	// ErrCap says that the spool has reached Options.Cap. Nothing was stored; it passes when the sinks have taken more.
	ErrCap = errors.New("spool is at its cap")
	// ErrDisk says that the disk failed to write or to sync. Nothing was acknowledged; it may be tried again.
	ErrDisk = errors.New("disk failed")
	// ErrTerm says that a group before this batch was not written, see Spool.Term. Nothing was stored.
	ErrTerm = errors.New("an earlier batch was not stored")
	// ErrClosed says that the spool has stopped. Nothing was stored.
	ErrClosed = errors.New("spool is closed")
	// ErrTooLarge says that a batch, a name or a position is beyond its limit. Trying again is of no use.
	ErrTooLarge = errors.New("too large for the spool")
	// ErrUnknownSink says that a SinkID or a SinkSet names a sink that was never registered.
	ErrUnknownSink = errors.New("sink is not registered")
	// ErrUnknownDevice says that the spool has no record and no position of a device.
	ErrUnknownDevice = errors.New("nothing is known of the device")
	// ErrKnownDevice says that a name is taken: the spool has records or a position of a device of that name.
	ErrKnownDevice = errors.New("a device of the new name has a history of its own")
	// ErrDescribe says that Options.Describe is missing, without which nobody knows what is in a record.
	ErrDescribe = errors.New("records are not described")
	// ErrUnread says that a part of the spool could not be read, so that nobody knows which attachments it names.
	ErrUnread = errors.New("part of the spool cannot be read")
	// ErrBusy says that a replay, a requeue or a sweep is under way. Nothing was done; it may be tried again later.
	ErrBusy = errors.New("a replay, a requeue or a sweep is under way")
	// ErrBlob says that an attachment's file is not what its record says: hash, size or form of the hash.
	ErrBlob = errors.New("attachment does not match")
)

// windowsDiskFull and windowsHandleDiskFull are ERROR_DISK_FULL and ERROR_HANDLE_DISK_FULL of Windows.
const (
	windowsDiskFull       = syscall.Errno(112)
	windowsHandleDiskFull = syscall.Errno(39)
)

// diskError gives a failed file operation its class, ErrFull or ErrDisk, and keeps the cause.
func diskError(verb string, err error) error {
	if err == nil {
		return nil
	}
	class := ErrDisk
	if isFull(err) {
		class = ErrFull
	}
	return fmt.Errorf("%s: %w: %w", verb, class, err)
}

func isFull(err error) bool {
	if errors.Is(err, ErrFull) || errors.Is(err, syscall.ENOSPC) {
		return true
	}
	return onWindows && (errors.Is(err, windowsDiskFull) || errors.Is(err, windowsHandleDiskFull))
}
