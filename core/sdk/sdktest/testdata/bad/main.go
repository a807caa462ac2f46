// Bad is a device and a sink that break the contract, each under the name of the rule that it breaks: the binary's name
// chooses. Under the names good-device and good-sink it breaks none.
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

func main() {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	if len(os.Args) > 1 && strings.HasPrefix(name, "plays") {
		play(name)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "idle" {
		time.Sleep(time.Minute)
		return
	}
	m := sdk.Manifest{Name: name, Version: "1.0.0", Identity: "running number", LossWindow: "none: it is a test"}
	switch name {
	case "good-sink", "buffers", "doubles", "classless", "all-or-none", "shrugs", "hasty", "tells", "locks-sink":
		serve.Sink(&sink{fault: name}, m)
	case "check-writes":
		serve.Sink(&checker{}, m)
	case "no-words":
		m.Identity, m.LossWindow, m.Version = "", "", "one"
		serve.Device(&tape{}, m)
	case "refuser", "swallows":
		serve.Device(&refuser{tape{fault: name}}, m)
	case "polled":
		m.Polled, m.Every = true, "50ms"
		serve.Device(&tape{fault: name}, m)
	case "reads-ahead", "undead", "fat", "twice", "keeps-place", "inline":
		raw(m, name)
	case "wide":
		m.Window = 3
		serve.Device(&tape{fault: name}, m)
	default:
		serve.Device(&tape{fault: name}, m)
	}
}

// raw serves a device without package serve, which keeps to the window and the limits by itself.
func raw(m sdk.Manifest, fault string) {
	m.Role = sdk.RoleDevice
	m.Settings, _ = sdk.Describe(&tape{})
	h := &rawDevice{fault: fault}
	if fault != "undead" {
		go func() {
			_, _ = os.Stdin.Read(make([]byte, 1))
			os.Exit(0)
		}()
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins: plugin.PluginSet{wire.PluginName: &wire.Glue{Register: func(_ *plugin.GRPCBroker, s *grpc.Server) {
			wire.RegisterDevice(s, m, h)
		}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, wire.ServerOptions()...)...)
		},
	})
}

// rawDevice sends a tape's records without looking at the answers.
type rawDevice struct {
	fault string
	tape  tape
	stop  context.CancelFunc
	done  chan struct{}
	ctx   context.Context
	run   context.Context // of the last stream
	cut   bool            // the stream ended before Close
}

func (d *rawDevice) Open(ctx context.Context, o wire.OpenDevice) error {
	if d.fault == "twice" && d.ctx != nil && d.ctx.Err() == nil {
		return errors.New("it is open")
	}
	place := d.tape.last
	d.tape = tape{fault: d.fault}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.done = make(chan struct{})
	close(d.done)
	err := d.tape.Open(ctx, sdk.Env{Name: o.Name, Settings: sdk.NewSettings(o.Settings)}, sdk.Position(o.Position))
	if d.fault == "keeps-place" && d.cut {
		d.tape.last, d.cut = place, false
	}
	return err
}

func (d *rawDevice) Run(ctx context.Context, s wire.DeviceStream) error {
	d.run = ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	d.done = done
	defer close(done)
	go func() {
		<-d.ctx.Done()
		cancel()
	}()
	answers := make(chan wire.Answer, 100)
	go func() {
		defer cancel()
		for {
			a, err := s.Recv()
			if err != nil || a.Refused > 0 {
				return
			}
			answers <- a
		}
	}()
	for number := uint64(1); ; number++ {
		b, err := d.tape.Read(ctx)
		if err != nil {
			return err
		}
		out := wire.NewOutgoing(0)
		out.Head(number, string(b.Next))
		for i := range b.Records {
			out.Record(&b.Records[i])
		}
		if err := s.Send(out); err != nil {
			return err
		}
		if d.fault == "reads-ahead" {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-answers:
		}
	}
}

func (d *rawDevice) Close(context.Context) error {
	if d.stop != nil {
		d.cut = d.run != nil && d.run.Err() != nil
		d.stop()
		<-d.done
	}
	return nil
}
