package wire

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

func findingsTo(list []sdk.Finding) []*pb.Finding {
	list = list[:min(len(list), sdk.MaxFindings)]
	out := make([]*pb.Finding, len(list))
	for i, f := range list {
		out[i] = &pb.Finding{Severity: string(f.Severity), Setting: f.Setting, Text: f.Text, Proposal: f.Proposal}
	}
	return out
}

// findingsFrom takes a severity that is not known for a fault.
func findingsFrom(list []*pb.Finding) []sdk.Finding {
	list = list[:min(len(list), sdk.MaxFindings)]
	out := make([]sdk.Finding, len(list))
	for i, f := range list {
		out[i] = sdk.Finding{Severity: sdk.SeverityFault, Setting: f.GetSetting(), Text: f.GetText(), Proposal: f.GetProposal()}
		if f.GetSeverity() == string(sdk.SeverityNote) {
			out[i].Severity = sdk.SeverityNote
		}
	}
	return out
}

// Describe is served where the store is an sdk.Catalog.
func (s *storeServer) Describe(ctx context.Context, r *pb.TableRequest) (*pb.TableReply, error) {
	c, ok := s.store.(sdk.Catalog)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "tables are described during a check only")
	}
	t, err := c.Table(ctx, r.GetName())
	if err != nil {
		return &pb.TableReply{Failure: failureOf(err)}, nil
	}
	reply := &pb.TableReply{Database: t.Database, Name: t.Name, Near: t.Near}
	for _, c := range t.Columns {
		reply.Columns = append(reply.Columns, &pb.Column{
			Name: c.Name, Type: c.Type, MaxLength: int32(min(c.MaxLength, 1<<30)), Nullable: c.Nullable, Filled: c.Filled,
		})
	}
	for _, k := range t.Keys {
		reply.Keys = append(reply.Keys, &pb.Key{Columns: k})
	}
	return reply, nil
}

// Table is sdk.Catalog's.
func (s *storeClient) Table(ctx context.Context, name string) (sdk.Table, error) {
	reply, err := s.c.Describe(ctx, &pb.TableRequest{Name: name})
	if err != nil {
		return sdk.Table{}, callError(sdk.ClassUnavailable, err)
	}
	if f := reply.GetFailure(); f != nil {
		return sdk.Table{}, errorFrom(f)
	}
	t := sdk.Table{Database: reply.GetDatabase(), Name: reply.GetName(), Near: reply.GetNear()}
	for _, c := range reply.GetColumns() {
		t.Columns = append(t.Columns, sdk.Column{
			Name: c.GetName(), Type: c.GetType(), MaxLength: int(c.GetMaxLength()), Nullable: c.GetNullable(), Filled: c.GetFilled(),
		})
	}
	for _, k := range reply.GetKeys() {
		t.Keys = append(t.Keys, k.GetColumns())
	}
	return t, nil
}
