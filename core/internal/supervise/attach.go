package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
)

// Attach dials a plugin that runs in debug mode (serve) at the address it printed, unix:PATH, and runs use on it. The process
// is not this one's: it has no deadline and no health watch, may stand at a breakpoint, and lives on. A host never attaches.
func Attach(ctx context.Context, address string, log hclog.Logger, use func(ctx context.Context, proc *Process) error) error {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return fmt.Errorf("attach to %s: the plugin's debug mode prints an address unix:PATH", address)
	}
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	conn, err := (&net.Dialer{}).DialContext(ctx, addr.Net, addr.Name)
	if err != nil {
		return fmt.Errorf("attach: no plugin in debug mode listens there any more: %w", err)
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	proc := &Process{last: &tail{}, servers: life.NewGroup(ctx)}
	proc.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Glue{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           log,
		GRPCDialOptions:  wire.DialOptions(),
		Reattach: &plugin.ReattachConfig{
			Protocol: plugin.ProtocolGRPC, ProtocolVersion: wire.ProtocolVersion, Addr: addr, Test: true,
			ReattachFunc: func() (runner.AttachedRunner, error) { return &attached{ctx.Done()}, nil },
		},
	})
	if err := proc.describe(ctx); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	err = use(ctx, proc)
	if rpc, dialled := proc.client.Client(); dialled == nil {
		if c, ok := rpc.(*plugin.GRPCClient); ok {
			err = errors.Join(err, c.Conn.Close()) // without Shutdown, which would end the process
		}
	}
	return err
}

// attached is a process that somebody else has started.
type attached struct{ done <-chan struct{} }

// Wait is runner.AttachedRunner's.
func (a *attached) Wait(context.Context) error {
	<-a.done
	return nil
}

// Kill is runner.AttachedRunner's: the process is its debugger's.
func (a *attached) Kill(context.Context) error { return nil }

// ID is runner.AttachedRunner's.
func (a *attached) ID() string { return "attached" }

// PluginToHost is runner.AttachedRunner's: both see the same addresses.
func (a *attached) PluginToHost(network, address string) (hostNetwork, hostAddress string, err error) {
	return network, address, nil
}

// HostToPlugin is runner.AttachedRunner's.
func (a *attached) HostToPlugin(network, address string) (pluginNetwork, pluginAddress string, err error) {
	return network, address, nil
}
