package wire

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

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
	made := newValues(len(in))
	for i, v := range in {
		var err error
		if out[i], err = made.of(v); err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return out, nil
}

// values are made together: a batch of exams has a hundred thousand of them, most of them texts.
type values struct {
	all   []pb.Value
	texts []pb.Value_Text
}

// newValues makes room for n values.
func newValues(n int) values {
	return values{all: make([]pb.Value, n), texts: make([]pb.Value_Text, n)}
}

func (s *values) of(v any) (*pb.Value, error) {
	out := &s.all[0]
	s.all = s.all[1:]
	switch v := v.(type) {
	case nil:
		out.Kind = &pb.Value_Null{Null: true}
	case bool:
		out.Kind = &pb.Value_Flag{Flag: v}
	case int:
		out.Kind = &pb.Value_Integer{Integer: int64(v)}
	case int64:
		out.Kind = &pb.Value_Integer{Integer: v}
	case float64:
		out.Kind = &pb.Value_Real{Real: v}
	case string:
		if !utf8.ValidString(v) {
			return nil, errNotUTF8
		}
		s.texts[0].Text = v
		out.Kind, s.texts = &s.texts[0], s.texts[1:]
	case []byte:
		out.Kind = &pb.Value_Blob{Blob: v}
	case time.Time:
		out.Kind = &pb.Value_Time{Time: v.UnixNano()}
	default:
		return nil, badValue(v)
	}
	return out, nil
}

var errNotUTF8 = errors.New("a text that is not UTF-8")

func badValue(v any) error {
	return fmt.Errorf("value of type %T; use nil, bool, int, int64, float64, string, []byte or time.Time", v)
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
