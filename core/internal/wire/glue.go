package wire

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/hostd/hostd/core/sdk"
)

// PluginName is the one name under which go-plugin's glue knows every plugin.
const PluginName = "hostd"

// ProtocolVersion of the contract. A plugin of another version is refused with both versions named.
const ProtocolVersion = 1

// Limits of the transport, set on both ends.
const (
	maxMessage   = 16 << 20
	streamWindow = 4 << 20
	connWindow   = 8 << 20
	ioBuffer     = 256 << 10
	pingGap      = 5 * time.Second // a plugin in another language may ping the host as often as this
)

// Handshake is what host and plugin tell each other before anything else. The cookie is no secret: it keeps a person
// who starts a plugin by hand from waiting for nothing.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "HOSTD_PLUGIN",
		MagicCookieValue: "8f1c5e0a-device-or-sink",
	}
}

// Glue joins this package to go-plugin: a plugin fills Register, the host leaves it nil.
type Glue struct {
	plugin.NetRPCUnsupportedPlugin
	// Register puts a plugin's services on its server.
	Register func(broker *plugin.GRPCBroker, s *grpc.Server)
}

// GRPCServer is called by go-plugin in the plugin.
func (g *Glue) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	g.Register(broker, s)
	return nil
}

// GRPCClient is called by go-plugin in the host and gives a *Conn.
func (g *Glue) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return newConn(broker, conn), nil
}

// never is longer than any connection lives.
const never time.Duration = math.MaxInt64

// ServerOptions are the limits of a server, a plugin's or the host's, to be appended to those that go-plugin gives. Neither
// side lets gRPC ping the other: it goes by the wall clock, and takes every connection for dead when that is put back. The
// host asks for a plugin's health itself, and a plugin ends with its host.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(NewCodec()),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow),
		grpc.ReadBufferSize(ioBuffer), grpc.WriteBufferSize(ioBuffer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingGap, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: never}),
	}
}

// DialOptions are the limits of a client.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(NewCodec()), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer),
	}
}

// What a call to a plugin can fail with, besides the plugin's own error.
var (
	ErrGone = errors.New("plugin is gone")         // the process ended or the connection broke
	ErrHung = errors.New("plugin does not answer") // no answer within the deadline
)

// PluginError is an error that the plugin itself returned.
type PluginError struct{ Text string }

// Error is the plugin's text.
func (e *PluginError) Error() string { return e.Text }

// fromRPC turns gRPC's error into ErrGone, ErrHung, the context's end, a classed error or a PluginError.
func fromRPC(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.Unavailable:
		return fmt.Errorf("%w: %s", ErrGone, st.Message())
	case codes.DeadlineExceeded:
		return ErrHung
	case codes.Canceled:
		return context.Canceled
	case codes.ResourceExhausted:
		return sdk.Permanent(&PluginError{Text: "message too large: " + st.Message()})
	case codes.Unimplemented:
		return &PluginError{Text: "the plugin does not have this call: " + st.Message()}
	default:
		return &PluginError{Text: st.Message()}
	}
}
