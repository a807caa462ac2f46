// Package serve is the one-line main of a plugin: it speaks with the host, hands the settings over, carries log/slog
// to the host's log, and ends when the host ends.
//
//	instrument -> device -> [ serve ] ==gRPC==> host ==gRPC==> [ serve ] -> sink
package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// drainTime is how long a plugin may take to end after its host has ended.
const drainTime = time.Second

// Memory of a plugin: few collections under load, and a bound that the collector works for. GOGC and GOMEMLIMIT win, of
// which the host sets the second one.
const (
	gcPercent   = 400
	memoryLimit = 40 << 20
)

// Device runs a device plugin; it is all that its main does, and it does not return. The settings are described from
// d's struct tags, see sdk.Describe. Window, Polled and the texts come from m. With an argument that names one of the
// modes the process is that instead.
func Device(d sdk.Device, m sdk.Manifest, modes ...Mode) {
	runMode(&m, modes)
	m.Role = sdk.RoleDevice
	out := start(&m, d)
	h := &deviceHandler{device: d, window: max(m.Window, 1), polled: m.Polled, wire: m.Wire, log: out}
	serve(m, func(_ *plugin.GRPCBroker, s *grpc.Server) { wire.RegisterDevice(s, m, h) }, h.Close)
}

// Sink runs a sink plugin; it is all that its main does, and it does not return. With an argument that names one of the
// modes the process is that instead.
func Sink(s sdk.Sink, m sdk.Manifest, modes ...Mode) {
	runMode(&m, modes)
	m.Role = sdk.RoleSink
	_, m.Checks = s.(sdk.Checker)
	out := start(&m, s)
	h := &sinkHandler{sink: s, log: out}
	serve(m, func(b *plugin.GRPCBroker, srv *grpc.Server) { wire.RegisterSink(srv, b, m, h) }, h.Close)
}

// start prepares the process: it is a plugin, nothing but the handshake goes to its standard output, and what it logs
// goes to the standard error as lines that the host understands.
func start(m *sdk.Manifest, settings any) *logOutput {
	if debugging() {
		checkDebug(m.Name)
	} else if os.Getenv(wire.Handshake().MagicCookieKey) != wire.Handshake().MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin of hostd, which starts it by itself: put it into the plugin folder and name it in the configuration.\n", m.Name, m.Version)
		os.Exit(1)
	}
	list, err := describe(m, settings)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: describe settings: %v\n", m.Name, err)
		os.Exit(1)
	}
	m.Settings = list
	boundMemory()
	out := newLogOutput(os.Stderr)
	slog.SetDefault(out.logger)
	return out
}

func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

func serve(m sdk.Manifest, register func(*plugin.GRPCBroker, *grpc.Server), closeAll func(context.Context) error) {
	config := &plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins:         plugin.PluginSet{wire.PluginName: &wire.Glue{Register: register}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, wire.ServerOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Name: m.Name, Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	}
	if debugging() {
		os.Exit(serveDebug(m.Name, config, closeAll))
	}
	group := life.NewGroup(context.Background())
	group.Go("host watch", func(ctx context.Context) error {
		awaitHostEnd(ctx, os.Stdin)
		drain(ctx, closeAll)
		os.Exit(0)
		return nil
	})
	plugin.Serve(config)
	os.Exit(0)
}

// drain closes what is open, for drainTime at most: a Write that hangs must not keep the process.
func drain(ctx context.Context, closeAll func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	g := life.NewGroup(ctx)
	g.Go("close", func(context.Context) error { return closeAll(ctx) })
	if err := g.Stop(ctx); err != nil {
		slog.Warn("close at the end of the host", "err", err)
	}
}

// awaitHostEnd returns when the standard input, whose other end only the host holds, is at its end, or a signal asks
// to stop.
func awaitHostEnd(ctx context.Context, stdin io.Reader) {
	stop, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	watch := life.NewGroup(stop)
	watch.Go("stdin", func(context.Context) error {
		_, err := io.Copy(io.Discard, stdin)
		cancel()
		return err
	})
	<-stop.Done()
}

// logOutput is the plugin's log: JSON lines on the standard error, in the form that go-plugin's host side parses.
type logOutput struct {
	level  *slog.LevelVar
	logger *slog.Logger
}

func newLogOutput(w io.Writer) *logOutput {
	level := &slog.LevelVar{}
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.LevelKey:
			return slog.String("@level", strings.ToLower(a.Value.String()))
		case slog.MessageKey:
			a.Key = "@message"
		case slog.TimeKey:
			return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
		}
		return a
	}})
	return &logOutput{level: level, logger: slog.New(h)}
}

// setLevel takes the host's word for a level; an unknown word is info.
func (l *logOutput) setLevel(word string) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(word)); err != nil {
		level = slog.LevelInfo
	}
	l.level.Set(level)
}
