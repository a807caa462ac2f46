package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// frozen says where it serves, and then takes no connection.
func frozen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("1|%d|tcp|%s|grpc\n", wire.ProtocolVersion, l.Addr())
	time.Sleep(time.Hour)
}

// raw serves without package serve, and without a limit of what it sends.
func raw(h wire.DeviceHandler, opts ...grpc.ServerOption) {
	m := sdk.Manifest{Name: "plugin", Version: "1.2.3", Role: sdk.RoleDevice}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins: plugin.PluginSet{wire.PluginName: &wire.Glue{Register: func(_ *plugin.GRPCBroker, s *grpc.Server) {
			wire.RegisterDevice(s, m, h)
		}}},
		GRPCServer: func(own []grpc.ServerOption) *grpc.Server {
			own = append(own, grpc.ForceServerCodecV2(wire.NewCodec()), grpc.MaxSendMsgSize(1<<30))
			return grpc.NewServer(append(own, opts...)...)
		},
	})
	os.Exit(0)
}

// future serves the next version of the contract.
func future() {
	next := wire.Handshake()
	next.ProtocolVersion++
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: next, Plugins: plugin.PluginSet{wire.PluginName: &wire.Glue{Register: func(*plugin.GRPCBroker, *grpc.Server) {}}}, GRPCServer: plugin.DefaultGRPCServer})
	os.Exit(0)
}

// silent has it never say what it is.
var silent = grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasSuffix(info.FullMethod, "/Describe") {
		time.Sleep(time.Hour)
	}
	return next(ctx, req)
})

// huge answers with 300 MiB.
type huge struct{}

func (*huge) Open(context.Context, wire.OpenDevice) error { return nil }
func (*huge) Close(context.Context) error                 { return nil }

func (*huge) Run(ctx context.Context, s wire.DeviceStream) error {
	out := wire.NewOutgoing(0)
	out.Record(&sdk.Record{ID: "1", Kind: "exam", Data: make([]byte, 300<<20)})
	out.Head(1, "1")
	if err := s.Send(out); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// logs writes records as fast as it can, and then a file that says so.
func (d *device) logs(log *slog.Logger) error {
	for i := range d.Lines {
		log.Info("flood", "n", i)
	}
	return os.WriteFile(filepath.Join(d.dir, "logged"), nil, 0o600)
}

// prints writes lines of 1 MiB to the standard output, behind the handshake too.
func prints() error {
	line := strings.Repeat("z", 1<<20)
	_, err := fmt.Println(line)
	_, raw := fmt.Fprint(stdout, line, line, "\nthe end\n")
	return errors.Join(err, raw)
}

// held is the memory that was taken.
var held [][]byte

// take takes as many MiB and keeps them.
func take(mib int) error {
	for range mib {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		held = append(held, b)
	}
	return nil
}

// bear starts a process that outlives this one, holds its streams, and is named in the file "child".
func (d *device) bear() error {
	child := exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "mute"))
	child.Stdout, child.Stderr = stdout, stderr
	if err := child.Start(); err != nil {
		return err
	}
	path := filepath.Join(d.dir, "child")
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(child.Process.Pid)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
