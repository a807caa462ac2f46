package logs

import (
	"io"
	"sync"
	"sync/atomic"

	"gopkg.in/natefinch/lumberjack.v2"
)

// output hands each line to the console and the file; one that fails does not keep it from the other.
type output struct {
	console io.Writer          // nil is none
	file    *lumberjack.Logger // nil is none
	failed  atomic.Uint64

	mu     sync.Mutex
	closed bool // guarded by mu
}

// Write counts what fails and never returns an error: logrus would print it to the standard error.
func (o *output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.console != nil {
		o.count(o.console.Write(line))
	}
	switch {
	case o.file == nil:
	case o.closed:
		o.failed.Add(1) // a write would open the file again
	default:
		o.count(o.file.Write(line))
	}
	return len(line), nil
}

func (o *output) count(_ int, err error) {
	if err != nil {
		o.failed.Add(1)
	}
}

func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil || o.closed {
		return nil
	}
	o.closed = true
	return o.file.Close()
}
