package sdk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

// Device reads one instrument. With the manifest's window at 1 (the default) no two of its calls overlap.
type Device interface {
	// Open connects, and does again whatever the instrument needs up to from, the last acknowledged position. It is
	// called before anything else, and again after Close. An error is tried again with a growing pause.
	Open(ctx context.Context, env Env, from Position) error
	// Read returns the next records. A listening device blocks until there is something or ctx ends; a polled device
	// returns an empty batch when there is nothing more. With window 1 it is not called between a batch and its answer.
	// An error makes the host close and reopen the device at its last acknowledged position.
	Read(ctx context.Context) (Batch, error)
	// Ack says that everything up to the position is on the host's disk: now tell the instrument. An error means that
	// the plugin failed and reopens the device; one dead peer of many is not an error.
	Ack(ctx context.Context, upTo Position) error
	// Close lets go of the instrument. It is called once after each Open, also after a failed one.
	Close(ctx context.Context) error
}

// Refuser is an optional ability of a Device: the negative answer of its protocol (NAK, CE, a closed connection).
// Without it a refused batch reopens the device at its last position, and the instrument sends again.
type Refuser interface {
	// Refuse says that the batch which ends at the position was not stored, and will be read again.
	Refuse(ctx context.Context, upTo Position, why Reason) error
}

// Reason says why a batch was not stored.
type Reason string

// Reasons of a refusal.
const (
	ReasonFull     Reason = "full"     // the spool has reached its cap
	ReasonDisk     Reason = "disk"     // the disk failed or has no space
	ReasonStopping Reason = "stopping" // the host is going down
	ReasonInvalid  Reason = "invalid"  // the batch breaks the contract; the text is in the log
	ReasonLate     Reason = "late"     // no answer within the host's time
)

// Env is what the host gives to a device at Open.
type Env struct {
	// Name of the device in the configuration.
	Name string
	// Settings of this device; Decode reads them.
	Settings Settings
	// StateDir is a folder of the device's own that survives restarts, for memory that is too big for a position.
	StateDir string
	// StagingDir is where attachments are written before they are handed over; the host empties it before each Open.
	StagingDir string
	// Log arrives in the host's log with the device's name. Never log patient data.
	Log *slog.Logger
	// Wake makes a polled device due now: a file-system event, a button. It never blocks.
	Wake func()
	// Wire gives a connection as the driver is to use it, under a name of the line ("port"): conn itself, or while the
	// setting capture is on one that keeps what passes, see Manifest.Wire. Deadlines are set on conn itself.
	Wire func(name string, conn io.ReadWriteCloser) io.ReadWriteCloser
	// Go starts f in a goroutine that serve cancels and joins at Close; an error other than ctx's reopens the device.
	Go func(f func(ctx context.Context) error)
}

// Poll calls next at once and then each second until it returns something other than io.EOF, or ctx ends. It is for
// listening devices whose source has no way to wake them. With an error the batch is ignored.
func Poll(ctx context.Context, next func() (Batch, error)) (Batch, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		b, err := next()
		if err == nil || !errors.Is(err, io.EOF) {
			return b, err
		}
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-tick.C:
		}
	}
}
