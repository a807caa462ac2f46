package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// DeviceHandler is a plugin's side of the Device service.
type DeviceHandler interface {
	Open(ctx context.Context, o OpenDevice) error
	// Run is called once after each Open and ends with ctx, or with the error for which the host shall reopen.
	Run(ctx context.Context, s DeviceStream) error
	Close(ctx context.Context) error
}

// DeviceStream is the plugin's end of a device's stream. Send and Recv may run beside each other.
type DeviceStream interface {
	Send(out *Outgoing) error
	Recv() (Answer, error)
}

// SinkHandler is a plugin's side of the Sink service.
type SinkHandler interface {
	Open(ctx context.Context, o OpenSink, store sdk.Store, cache sdk.Cache) error
	// Write writes one batch.
	Write(ctx context.Context, records []sdk.Record) error
	// Check is called instead of all the others.
	Check(ctx context.Context, o OpenSink, store sdk.Store, cache sdk.Cache, tables sdk.Catalog) ([]sdk.Finding, error)
	Close(ctx context.Context) error
}

// RegisterDevice serves a device plugin.
func RegisterDevice(s *grpc.Server, m sdk.Manifest, h DeviceHandler) {
	pb.RegisterPluginServer(s, &pluginServer{manifest: m})
	pb.RegisterDeviceServer(s, &deviceServer{handler: h})
}

// RegisterSink serves a sink plugin.
func RegisterSink(s *grpc.Server, broker *plugin.GRPCBroker, m sdk.Manifest, h SinkHandler) {
	pb.RegisterPluginServer(s, &pluginServer{manifest: m})
	pb.RegisterSinkServer(s, &sinkServer{broker: broker, handler: h})
}

type pluginServer struct {
	pb.UnimplementedPluginServer
	manifest sdk.Manifest
}

func (p *pluginServer) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeReply, error) {
	b, err := json.Marshal(p.manifest)
	return &pb.DescribeReply{Manifest: b}, err
}

func (p *pluginServer) Health(context.Context, *pb.HealthRequest) (*pb.HealthReply, error) {
	return &pb.HealthReply{}, nil
}

type deviceServer struct {
	pb.UnimplementedDeviceServer
	handler DeviceHandler
}

func (d *deviceServer) Open(ctx context.Context, r *pb.OpenDeviceRequest) (*pb.OpenReply, error) {
	return &pb.OpenReply{}, d.handler.Open(ctx, OpenDevice{
		Name: r.GetName(), Settings: r.GetSettings(), Position: r.GetPosition(),
		StateDir: r.GetStateDir(), StagingDir: r.GetStagingDir(), LogLevel: r.GetLogLevel(),
	})
}

func (d *deviceServer) Close(ctx context.Context, _ *pb.CloseRequest) (*pb.CloseReply, error) {
	return &pb.CloseReply{}, d.handler.Close(ctx)
}

func (d *deviceServer) Run(s grpc.BidiStreamingServer[pb.Answer, pb.Batch]) error {
	return d.handler.Run(s.Context(), &deviceStream{s: s})
}

type deviceStream struct {
	s grpc.BidiStreamingServer[pb.Answer, pb.Batch]
}

func (d *deviceStream) Send(out *Outgoing) error { return d.s.SendMsg(out) }

func (d *deviceStream) Recv() (Answer, error) {
	a, err := d.s.Recv()
	if err != nil {
		return Answer{}, err
	}
	return Answer{Ack: a.GetAck(), Refused: a.GetRefused(), Reason: sdk.Reason(a.GetReason()), PollMillis: a.GetPollMs()}, nil
}

type sinkServer struct {
	pb.UnimplementedSinkServer
	broker  *plugin.GRPCBroker
	handler SinkHandler
	conn    *grpc.ClientConn // to Store and Cache; made at the first Open or Check, kept
}

func (s *sinkServer) Open(ctx context.Context, r *pb.OpenSinkRequest) (*pb.OpenReply, error) {
	store, cache, err := s.dial(r)
	if err != nil {
		return nil, err
	}
	return &pb.OpenReply{}, s.handler.Open(ctx, openSinkFrom(r), store, cache)
}

func (s *sinkServer) Check(ctx context.Context, r *pb.OpenSinkRequest) (*pb.CheckReply, error) {
	store, cache, err := s.dial(r)
	if err != nil {
		return nil, err
	}
	found, err := s.handler.Check(ctx, openSinkFrom(r), store, cache, store)
	if err != nil {
		return nil, err
	}
	return &pb.CheckReply{Findings: findingsTo(found)}, nil
}

// dial connects to the host's Store and Cache, once.
func (s *sinkServer) dial(r *pb.OpenSinkRequest) (*storeClient, *cacheClient, error) {
	if s.conn == nil {
		conn, err := s.broker.DialWithOptions(r.GetBrokerId(), DialOptions()...)
		if err != nil {
			return nil, nil, fmt.Errorf("dial store: %w", err)
		}
		s.conn = conn
	}
	return newStoreClient(s.conn, r.GetPacked()), &cacheClient{c: pb.NewCacheClient(s.conn)}, nil
}

func openSinkFrom(r *pb.OpenSinkRequest) OpenSink {
	return OpenSink{Name: r.GetName(), Settings: r.GetSettings(), StateDir: r.GetStateDir(), BlobDir: r.GetBlobDir(), LogLevel: r.GetLogLevel()}
}

func (s *sinkServer) Close(ctx context.Context, _ *pb.CloseRequest) (*pb.CloseReply, error) {
	return &pb.CloseReply{}, s.handler.Close(ctx)
}

// errSkipped is the answer to a batch that came behind a failed one.
var errSkipped = sdk.WithClass(sdk.ClassBusy, errors.New("an earlier batch failed"))

// Run writes one batch after the other; the host keeps several open, so the next one is there already. After a failure
// nothing is written until the host comes again with the failed records.
func (s *sinkServer) Run(stream grpc.BidiStreamingServer[pb.Batch, pb.Outcome]) error {
	in := Incoming{Keep: true} // a sink may keep what it was given
	var dec Decoder
	var records []sdk.Record
	failed := false
	for {
		if err := stream.RecvMsg(&in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		records = grow(records, len(in.Records))
		for i, b := range in.Records {
			if err := dec.Record(b, &records[i]); err != nil {
				return err
			}
		}
		var err error = errSkipped
		if failed = failed && !in.Again; !failed {
			err = s.handler.Write(stream.Context(), records)
		}
		out := outcomeOf(in.Number, len(records), err)
		failed = out.GetFailure() != ""
		clear(records)
		in.Release()
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func grow(records []sdk.Record, n int) []sdk.Record {
	if cap(records) < n {
		return make([]sdk.Record, n)
	}
	return records[:n]
}

func outcomeOf(number uint64, n int, err error) *pb.Outcome {
	out := &pb.Outcome{Number: number}
	if err == nil {
		return out
	}
	var refused sdk.RecordErrors
	if !errors.As(err, &refused) {
		out.Failure, out.Class = err.Error(), pb.Class(sdk.ClassOf(err))
		if out.GetFailure() == "" {
			out.Failure = "unnamed error"
		}
		return out
	}
	for _, i := range refused.Indexes() {
		if i < 0 || i >= n {
			return &pb.Outcome{Number: number, Failure: fmt.Sprintf("sink refused record %d of a batch of %d", i, n)}
		}
		out.Errors = append(out.Errors, &pb.RecordError{Index: uint32(i), Reason: refused[i].Error()})
	}
	return out
}
