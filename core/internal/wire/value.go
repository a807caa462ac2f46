package wire

import (
	"fmt"
	"slices"
	"time"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

func columnsOf(row sdk.Row) []string {
	cols := make([]string, 0, len(row))
	for c := range row {
		cols = append(cols, c)
	}
	slices.Sort(cols)
	return cols
}

func valuesTo(in []any) ([]*pb.Value, error) {
	out := make([]*pb.Value, len(in))
	for i, v := range in {
		var err error
		if out[i], err = valueTo(v); err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return out, nil
}

func valueTo(v any) (*pb.Value, error) {
	switch v := v.(type) {
	case nil:
		return &pb.Value{Kind: &pb.Value_Null{Null: true}}, nil
	case bool:
		return &pb.Value{Kind: &pb.Value_Flag{Flag: v}}, nil
	case int:
		return &pb.Value{Kind: &pb.Value_Integer{Integer: int64(v)}}, nil
	case int64:
		return &pb.Value{Kind: &pb.Value_Integer{Integer: v}}, nil
	case float64:
		return &pb.Value{Kind: &pb.Value_Real{Real: v}}, nil
	case string:
		return &pb.Value{Kind: &pb.Value_Text{Text: v}}, nil
	case []byte:
		return &pb.Value{Kind: &pb.Value_Blob{Blob: v}}, nil
	case time.Time:
		return &pb.Value{Kind: &pb.Value_Time{Time: v.UnixNano()}}, nil
	default:
		return nil, fmt.Errorf("value of type %T; use nil, bool, int, int64, float64, string, []byte or time.Time", v)
	}
}

func valuesFrom(in []*pb.Value) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = valueFrom(v)
	}
	return out
}

func valueFrom(v *pb.Value) any {
	switch k := v.GetKind().(type) {
	case *pb.Value_Flag:
		return k.Flag
	case *pb.Value_Integer:
		return k.Integer
	case *pb.Value_Real:
		return k.Real
	case *pb.Value_Text:
		return k.Text
	case *pb.Value_Blob:
		return k.Blob
	case *pb.Value_Time:
		return time.Unix(0, k.Time).UTC()
	default:
		return nil
	}
}
