package supervise

import (
	"errors"
	"fmt"
	"os"
)

// HoldPlugins makes plugins that are started from now on end with this process, however it ends: a plugin ends when its
// standard input does, whose other end only this process has. Windows besides ends every process that this one has
// started, by a Job Object that outlives release. Main calls it before anything else, once, and release when everything
// has stopped; until then it must keep release, which holds the pipe. It replaces os.Stdin, which go-plugin hands to
// every child. After an error nothing is held and no plugin may be started: it would outlive its host.
func HoldPlugins() (release func(), err error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hold plugins: %w", err)
	}
	if err := endWithHost(); err != nil {
		return nil, fmt.Errorf("hold plugins: %w", errors.Join(err, in.Close(), out.Close()))
	}
	before := os.Stdin
	os.Stdin = in
	return func() {
		os.Stdin = before
		_ = errors.Join(out.Close(), in.Close()) // of a pipe: nothing is lost
	}, nil
}
