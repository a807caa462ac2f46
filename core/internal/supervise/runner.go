package supervise

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"

	hclog "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin/runner"
)

// runner gives go-plugin a process that is ours: what the plugin writes to its standard output cannot fill the pipe, the
// sockets of both ends are in a folder of the host's, its memory is limited, and a kill ends all that it has started.
func (p *Process) runner(prog Program) func(hclog.Logger, *exec.Cmd, string) (runner.Runner, error) {
	return func(_ hclog.Logger, spec *exec.Cmd, sockets string) (runner.Runner, error) {
		p.sockets = sockets
		p.cmd.Env = append(p.cmd.Env, spec.Env...)
		if p.cmd.Stdin = spec.Stdin; prog.Stdin != nil {
			p.cmd.Stdin = prog.Stdin
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, fmt.Errorf("standard output: %w", err)
		}
		c := &child{proc: p, prog: prog, out: &handshake{ReadCloser: out, rest: lines(prog.Log, "stdout")}}
		if c.err, err = p.cmd.StderrPipe(); err != nil {
			return nil, fmt.Errorf("standard error: %w", err)
		}
		return c, nil
	}
}

// child is the plugin's process, as go-plugin sees it.
type child struct {
	proc     *Process
	prog     Program
	out, err io.ReadCloser
}

// Start is runner.Runner's. It begins the process in the goroutine of Run, whose thread lives as long.
func (c *child) Start(context.Context) error {
	if err := c.proc.cmd.Start(); err != nil {
		return err
	}
	if err := c.proc.group.begin(c.proc.cmd.Process, c.prog.Memory, c.prog.Yields); err != nil {
		c.prog.Log.Warn("the plugin runs without the limits of its process", "err", err.Error())
	}
	return nil
}

// Wait is runner.Runner's.
func (c *child) Wait(context.Context) error { return c.proc.cmd.Wait() }

// Kill is runner.Runner's.
func (c *child) Kill(context.Context) error {
	c.proc.kill()
	return nil
}

// Stdout is runner.Runner's.
func (c *child) Stdout() io.ReadCloser { return c.out }

// Stderr is runner.Runner's.
func (c *child) Stderr() io.ReadCloser { return c.err }

// Name is runner.Runner's.
func (c *child) Name() string { return c.prog.Path }

// ID is runner.Runner's; empty before the start.
func (c *child) ID() string {
	if c.proc.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(c.proc.cmd.Process.Pid)
}

// Diagnose is runner.Runner's; the package's own is asked in its place.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost is runner.Runner's: both see the same addresses.
func (c *child) PluginToHost(network, address string) (hostNetwork, hostAddress string, err error) {
	return network, address, nil
}

// HostToPlugin is runner.Runner's.
func (c *child) HostToPlugin(network, address string) (pluginNetwork, pluginAddress string, err error) {
	return network, address, nil
}

// longestHandshake is more than the line of a handshake has, in bytes.
const longestHandshake = 16 << 10

// handshake gives go-plugin the one line that it needs of a plugin's standard output, and takes all that follows:
// go-plugin stops reading at a line of 64 KiB, and nobody empties the pipe then.
type handshake struct {
	io.ReadCloser
	rest io.Writer // what follows; never fails
	seen int       // bytes of the line
	over bool
}

// Read gives the line, cut where it is too long for one, and then nothing until the end of the stream.
func (h *handshake) Read(b []byte) (int, error) {
	for {
		n, err := h.ReadCloser.Read(b)
		if h.over {
			_, _ = h.rest.Write(b[:n]) // never fails
			if err != nil {
				return 0, err
			}
			continue
		}
		if at := bytes.IndexByte(b[:n], '\n'); at >= 0 {
			h.over = true
			_, _ = h.rest.Write(b[at+1 : n]) // never fails
			return at + 1, err
		}
		if h.seen += n; h.seen > longestHandshake {
			h.over = true
			b[n-1] = '\n'
		}
		return n, err
	}
}
