package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// everyKind has every kind of change and of value, a form that is used again, and values that repeat.
func everyKind() []sdk.Change {
	return []sdk.Change{
		sdk.Once{Source: "ark", ID: "1", Hash: "h", Seq: 300, Changes: []sdk.Change{
			sdk.Insert{Table: "t", Columns: []string{"a", "b"}, Values: []any{nil, false, nil, true, int64(-2), true}},
			sdk.Upsert{Table: "t", Key: []string{"a"}, Columns: []string{"a", "b"}, Values: []any{"é", 1.5}},
		}},
		sdk.Insert{Table: "t", Columns: []string{"a", "b"}, Values: []any{[]byte{7}, time.Unix(0, 258).UTC()}},
		sdk.Exec{SQL: "x", Args: []any{int64(64)}, Want: -1},
	}
}

// everyKindBytes are those of everyKind. What stands here was sent by plugins that are out there: it may grow, and never change.
const everyKindBytes = "03" +
	"04" + "0361726b" + "0131" + "0168" + "ac02" + "02" + // once ark 1 h 300, two changes
	"01" + "00" + "0174" + "02" + "0161" + "0162" + "03" + "00" + "01" + "08" + "02" + "0303" + "08" + // insert, new form, three rows
	"02" + "00" + "0174" + "02" + "0161" + "0162" + "01" + "0161" + "01" + "0502c3a9" + "04000000000000f83f" + // upsert, new form, one row
	"01" + "01" + "01" + "060107" + "070201000000000000" + // insert, first form, one row
	"03" + "0178" + "01" + "01" + "038001" // exec

func TestPackedGolden(t *testing.T) {
	got, err := pack(everyKind())
	if err != nil || hex.EncodeToString(got) != everyKindBytes {
		t.Errorf("packed as\n%x, %v, want\n%s", got, err, everyKindBytes)
	}
	in, err := hex.DecodeString(everyKindBytes)
	if err != nil {
		t.Fatal(err)
	}
	back, err := unpack(in)
	if err != nil || fmt.Sprintf("%#v", back) != fmt.Sprintf("%#v", everyKind()) {
		t.Errorf("unpacked as\n%#v, %v", back, err)
	}
	for cut := range in {
		if back, err := unpack(in[:cut]); !errors.Is(err, ErrMessage) {
			t.Errorf("%d of %d bytes: %v, %v", cut, len(in), back, err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                   "",
		"more behind":               "0000",
		"more changes than bytes":   "05" + "030178" + "0000",
		"countless changes":         "ffffffffffffffffff01",
		"number without end":        "ffffffffffffffffffffff",
		"unknown change":            "01" + "090000",
		"no such form":              "01" + "010200",
		"form of the other kind":    "02" + "0100017401016101" + "00" + "0201" + "0100",
		"rows without columns":      "01" + "0100017400" + "01",
		"more rows than bytes":      "01" + "0100017401016105" + "0000",
		"more columns than bytes":   "01" + "01000174" + "40" + "0161" + "00",
		"same as nothing":           "01" + "010001740101610108",
		"unknown value":             "01" + "010001740101610109",
		"text without end":          "01" + "01000174010161010509" + "61",
		"text that is not UTF-8":    "01" + "0100017401016101" + "0501ff",
		"argument that is same":     "01" + "030178000108",
		"once in a once in a once":  "01" + "0401610162016300" + "01" + "0401610162016300" + "01" + "0401610162016300" + "00",
		"more arguments than bytes": "01" + "0301780009" + "00",
		"number that is cut":        "01" + "0100017401016101" + "0400000000",
	} {
		in, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(name, err)
		}
		if got, err := unpack(in); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), "at byte") || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	once := sdk.Once{Source: "a", ID: "b", Hash: "c", Changes: []sdk.Change{sdk.Once{Source: "d", ID: "e", Hash: "f", Changes: []sdk.Change{}}}}
	in, err := pack([]sdk.Change{once})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unpack(in); err != nil || fmt.Sprint(got) != fmt.Sprint([]sdk.Change{once}) {
		t.Errorf("a once in a once arrives for the store to refuse: %v, %v", got, err)
	}
}

// TestPackedIsWhatPlainIs holds packed and plain changes against each other, for changes of any form.
func TestPackedIsWhatPlainIs(t *testing.T) {
	for seed := range uint64(300) {
		sent := anyChanges(rand.New(rand.NewPCG(seed, 1)), 1)
		packed, err := pack(sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		want := throughProtobuf(t, sent)
		if fmt.Sprintf("%#v", plain(got)) != fmt.Sprintf("%#v", plain(want)) {
			t.Fatalf("seed %d: packed\n%#v\nplain\n%#v", seed, got, want)
		}
	}
}

func throughProtobuf(t *testing.T, sent []sdk.Change) []sdk.Change {
	t.Helper()
	out, err := changesTo(sent)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(&pb.WriteRequest{Changes: out})
	if err != nil {
		t.Fatal(err)
	}
	var in pb.WriteRequest
	if err := proto.Unmarshal(raw, &in); err != nil {
		t.Fatal(err)
	}
	got, err := requestFrom(&in)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// anyChanges makes changes of few tables with few values, so that forms and values repeat.
func anyChanges(r *rand.Rand, nested int) []sdk.Change {
	values := []any{nil, true, false, 1, int64(1), int64(math.MinInt64), 0.0, math.Copysign(0, -1), math.Inf(1), "", "검사", "a", []byte{}, []byte("a"), time.Unix(0, -1).UTC()}
	value := func() any { return values[r.IntN(len(values))] }
	out := make([]sdk.Change, r.IntN(6))
	for i := range out {
		table, columns := fmt.Sprint("t", r.IntN(2)), []string{"a", "b", "c"}[:1+r.IntN(3)]
		var list []any
		var rows []sdk.Row
		for range r.IntN(4) {
			row := sdk.Row{}
			for _, c := range columns {
				row[c] = value()
				list = append(list, row[c])
			}
			rows = append(rows, row)
		}
		switch r.IntN(6) {
		case 0:
			out[i] = sdk.Insert{Table: table, Rows: rows}
		case 1:
			out[i] = sdk.Insert{Table: table, Columns: columns, Values: list}
		case 2:
			out[i] = sdk.Upsert{Table: table, Key: columns[:1], Rows: rows}
		case 3:
			out[i] = sdk.Upsert{Table: table, Key: columns[:1], Columns: columns, Values: list}
		case 4:
			out[i] = sdk.Exec{SQL: "x", Args: []any{value(), value()}, Want: int64(r.IntN(3) - 1)}
		default:
			o := sdk.Once{Source: "s", ID: "i", Hash: "h", Seq: r.Uint64()}
			if nested > 0 {
				o.Changes = anyChanges(r, nested-1)
			}
			out[i] = o
		}
	}
	return out
}

// TestManyForms uses more forms than the packer looks through.
func TestManyForms(t *testing.T) {
	var sent []sdk.Change
	for i := range 3 * formsLooked {
		sent = append(sent, sdk.Insert{Table: fmt.Sprint("t", i%(2*formsLooked)), Columns: []string{"a"}, Values: []any{"x", "x"}})
	}
	in, err := pack(sent)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unpack(in); err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", sent) {
		t.Errorf("unpacked as %v, %v", got, err)
	}
}

// TestPackedIsAskedFor has a host that does not say that it takes packed changes: it gets plain ones.
func TestPackedIsAskedFor(t *testing.T) {
	for _, packed := range []bool{true, false} {
		got := &requests{}
		conn, _ := connect(t, ServerOptions(), func(s *grpc.Server) { pb.RegisterStoreServer(s, got) })
		if _, err := newStoreClient(conn, packed).Write(t.Context(), sdk.Exec{SQL: "x"}); err != nil {
			t.Fatal(err)
		}
		if (len(got.last.GetPacked()) > 0) != packed || (len(got.last.GetChanges()) > 0) == packed {
			t.Errorf("packed %v: the host got %v", packed, got.last)
		}
	}
	if !openSinkTo(OpenSink{}).GetPacked() {
		t.Error("this host does not say that it takes packed changes")
	}
	twice := &pb.WriteRequest{Packed: []byte{0}, Changes: []*pb.Change{{}}}
	if _, err := requestFrom(twice); !errors.Is(err, ErrMessage) {
		t.Errorf("changes in both forms: %v", err)
	}
}

// requests is a store that keeps the last request.
type requests struct {
	pb.UnimplementedStoreServer
	last *pb.WriteRequest
}

// FuzzUnpack holds that no bytes make it fail or take more memory than they are worth, and that what is read is written
// as the same again.
func FuzzUnpack(f *testing.F) {
	in, err := hex.DecodeString(everyKindBytes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(in)
	f.Add([]byte{1, 1, 0, 1, 't', 1, 1, 'a', 2, packSame, packNull})
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		changes, err := unpack(in)
		if !bytes.Equal(in, before) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		if n := countValues(changes); n > len(in) {
			t.Fatalf("%d values in %d bytes", n, len(in))
		}
		again, err := pack(changes)
		if err != nil {
			t.Fatal(err)
		}
		back, err := unpack(again)
		if err != nil || fmt.Sprintf("%#v", plain(back)) != fmt.Sprintf("%#v", plain(changes)) {
			t.Fatalf("%v: %#v, want %#v", err, back, changes)
		}
	})
}

func countValues(changes []sdk.Change) (n int) {
	for _, c := range changes {
		switch c := c.(type) {
		case sdk.Insert:
			n += len(c.Values)
		case sdk.Upsert:
			n += len(c.Values)
		case sdk.Exec:
			n += len(c.Args)
		case sdk.Once:
			n += countValues(c.Changes)
		}
	}
	return n + len(changes)
}

// Write is the service's.
func (r *requests) Write(_ context.Context, in *pb.WriteRequest) (*pb.WriteReply, error) {
	r.last = in
	return &pb.WriteReply{Changed: make([]*pb.Changed, 1)}, nil
}

// TestUnpackTakesNoMemoryForWhatIsNotThere has a message that says how much follows, and is empty behind that.
func TestUnpackTakesNoMemoryForWhatIsNotThere(t *testing.T) {
	const size = 1 << 20
	in := append(binary.AppendUvarint(nil, size-8), make([]byte, size-8)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := unpack(in)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrMessage) || took > size {
		t.Errorf("%d bytes for changes that are not there: %v", took, err)
	}
}

// TestStatementsDoNotKeepTheirMessage: a store keeps statements by their text, and with a part of a message it would keep
// all of it.
func TestStatementsDoNotKeepTheirMessage(t *testing.T) {
	in, err := pack([]sdk.Change{sdk.Exec{SQL: "DELETE FROM t", Want: 1}, sdk.Insert{Table: "t", Columns: []string{"c"}, Values: []any{"x"}}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := unpack(in)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		in[i] = '?'
	}
	if sql, set := out[0].(sdk.Exec).SQL, out[1].(sdk.Insert); sql != "DELETE FROM t" || set.Table != "t" || set.Columns[0] != "c" {
		t.Errorf("they are parts of the message: %q, %q, %q", sql, set.Table, set.Columns)
	}
}
