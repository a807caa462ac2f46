package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// Conn is the host's end of the connection to one running plugin. Its calls may run beside each other; each ends with
// its ctx, which must have a deadline.
type Conn struct {
	broker *plugin.GRPCBroker
	plugin pb.PluginClient
	device pb.DeviceClient
	sink   pb.SinkClient
}

func newConn(broker *plugin.GRPCBroker, conn *grpc.ClientConn) *Conn {
	return &Conn{broker: broker, plugin: pb.NewPluginClient(conn), device: pb.NewDeviceClient(conn), sink: pb.NewSinkClient(conn)}
}

// Describe asks for the manifest.
func (c *Conn) Describe(ctx context.Context) (sdk.Manifest, error) {
	var m sdk.Manifest
	reply, err := c.plugin.Describe(ctx, &pb.DescribeRequest{})
	if err != nil {
		return m, fromRPC(err)
	}
	if err := json.Unmarshal(reply.GetManifest(), &m); err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// Health returns nil when the plugin's process answers.
func (c *Conn) Health(ctx context.Context) error {
	_, err := c.plugin.Health(ctx, &pb.HealthRequest{})
	return fromRPC(err)
}

// OpenDevice is what a device is opened with.
type OpenDevice struct {
	Name       string
	Settings   []byte // one JSON object
	Position   []byte
	StateDir   string
	StagingDir string
	LogLevel   string
}

// OpenDevice opens the device.
func (c *Conn) OpenDevice(ctx context.Context, o OpenDevice) error {
	_, err := c.device.Open(ctx, &pb.OpenDeviceRequest{
		Name: o.Name, Settings: o.Settings, Position: o.Position,
		StateDir: o.StateDir, StagingDir: o.StagingDir, LogLevel: o.LogLevel,
	})
	return fromRPC(err)
}

// CloseDevice closes the device.
func (c *Conn) CloseDevice(ctx context.Context) error {
	_, err := c.device.Close(ctx, &pb.CloseRequest{})
	return fromRPC(err)
}

// RunDevice starts the stream of batches, which ends with ctx.
func (c *Conn) RunDevice(ctx context.Context) (*DeviceRun, error) {
	s, err := c.device.Run(ctx)
	if err != nil {
		return nil, fromRPC(err)
	}
	return &DeviceRun{stream: s}, nil
}

// DeviceRun is a device's stream, the host's end. One goroutine receives, one sends.
type DeviceRun struct {
	stream grpc.BidiStreamingClient[pb.Answer, pb.Batch]
}

// Recv reads the next message into in, which must have been released. io.EOF means that the device ended the stream.
func (d *DeviceRun) Recv(in *Incoming) error { return recvErr(d.stream.RecvMsg(in)) }

// Send sends an answer.
func (d *DeviceRun) Send(a Answer) error {
	return recvErr(d.stream.Send(&pb.Answer{Ack: a.Ack, Refused: a.Refused, Reason: string(a.Reason), PollMs: a.PollMillis}))
}

// Answer is the host's answer to a device, as in hostd.proto.
type Answer struct {
	Ack        uint64
	Refused    uint64
	Reason     sdk.Reason
	PollMillis uint32
}

// OpenSink is what a sink is opened with.
type OpenSink struct {
	Name     string
	Settings []byte // one JSON object
	StateDir string
	BlobDir  string
	BrokerID uint32 // from ServeStore
	LogLevel string
}

// OpenSink opens the sink.
func (c *Conn) OpenSink(ctx context.Context, o OpenSink) error {
	_, err := c.sink.Open(ctx, openSinkTo(o))
	return fromRPC(err)
}

func openSinkTo(o OpenSink) *pb.OpenSinkRequest {
	return &pb.OpenSinkRequest{
		Name: o.Name, Settings: o.Settings, StateDir: o.StateDir,
		BlobDir: o.BlobDir, BrokerId: o.BrokerID, LogLevel: o.LogLevel, Packed: true,
	}
}

// CloseSink closes the sink.
func (c *Conn) CloseSink(ctx context.Context) error {
	_, err := c.sink.Close(ctx, &pb.CloseRequest{})
	return fromRPC(err)
}

// CheckSink asks a sink that is not open what it finds, on the BrokerID of ServeStore. One without the ability finds nothing.
func (c *Conn) CheckSink(ctx context.Context, o OpenSink) ([]sdk.Finding, error) {
	reply, err := c.sink.Check(ctx, openSinkTo(o))
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	if err != nil {
		return nil, fromRPC(err)
	}
	return findingsFrom(reply.GetFindings()), nil
}

// RunSink starts the stream of deliveries, which ends with ctx.
func (c *Conn) RunSink(ctx context.Context) (*SinkRun, error) {
	s, err := c.sink.Run(ctx)
	if err != nil {
		return nil, fromRPC(err)
	}
	return &SinkRun{stream: s}, nil
}

// SinkRun is a sink's stream, the host's end. One goroutine sends, one receives.
type SinkRun struct {
	stream grpc.BidiStreamingClient[pb.Batch, pb.Outcome]
}

// Send sends a batch, which belongs to the transport from then on.
func (s *SinkRun) Send(out *Outgoing) error { return recvErr(s.stream.SendMsg(out)) }

// Recv waits for the outcome of the oldest open batch.
func (s *SinkRun) Recv() (Outcome, error) {
	m, err := s.stream.Recv()
	if err != nil {
		return Outcome{}, recvErr(err)
	}
	o := Outcome{Number: m.GetNumber()}
	if m.GetFailure() != "" {
		o.Failure = sdk.WithClass(sdk.Class(m.GetClass()), &PluginError{Text: m.GetFailure()})
	}
	for _, e := range m.GetErrors() {
		o.Errors = append(o.Errors, RecordError{Index: int(e.GetIndex()), Reason: e.GetReason()})
	}
	return o, nil
}

// Outcome is a sink's answer to one batch.
type Outcome struct {
	Number  uint64
	Errors  []RecordError // these records will never be stored; the others are
	Failure error         // not nil: none was stored; classed
}

// RecordError is one record that a sink refuses for good.
type RecordError struct {
	Index  int
	Reason string
}

// ServeStore serves Store and Cache to this plugin, on the id for OpenSink, until the connection ends; a store that is an
// sdk.Catalog is one there, too. The run function blocks; the caller gives it a goroutine.
func (c *Conn) ServeStore(store sdk.Store, cache sdk.Cache) (id uint32, run func()) {
	id = c.broker.NextId()
	return id, func() {
		c.broker.AcceptAndServe(id, func(opts []grpc.ServerOption) *grpc.Server {
			s := grpc.NewServer(append(opts, ServerOptions()...)...)
			pb.RegisterStoreServer(s, &storeServer{store: store})
			pb.RegisterCacheServer(s, &cacheServer{cache: cache})
			return s
		})
	}
}

func recvErr(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fromRPC(err)
}
