package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// connect serves on loopback, with the limits of both ends, and gives the client's end and the word to break it.
func connect(t *testing.T, options []grpc.ServerOption, register func(*grpc.Server)) (*grpc.ClientConn, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	register(s)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	conn, err := grpc.NewClient(l.Addr().String(), append(DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); s.Stop(); done.Wait() })
	return conn, s.Stop
}

// device is a DeviceHandler of funcs.
type device struct {
	open func(OpenDevice) error
	run  func(context.Context, DeviceStream) error
}

func (d *device) Open(_ context.Context, o OpenDevice) error {
	if d.open == nil {
		return nil
	}
	return d.open(o)
}
func (d *device) Run(ctx context.Context, s DeviceStream) error { return d.run(ctx, s) }
func (d *device) Close(context.Context) error                   { return errors.New("close port: it is gone") }

// sink is a SinkHandler of funcs.
type sink struct {
	write func([]sdk.Record) error
	check func(context.Context, OpenSink, sdk.Store, sdk.Catalog) ([]sdk.Finding, error)
}

func (s *sink) Check(ctx context.Context, o OpenSink, store sdk.Store, _ sdk.Cache, tables sdk.Catalog) ([]sdk.Finding, error) {
	return s.check(ctx, o, store, tables)
}

func (s *sink) Open(context.Context, OpenSink, sdk.Store, sdk.Cache) error { return nil }
func (s *sink) Write(_ context.Context, records []sdk.Record) error        { return s.write(records) }
func (s *sink) Close(context.Context) error                                { return nil }

func deviceConn(t *testing.T, d *device, options ...grpc.ServerOption) *Conn {
	t.Helper()
	conn, _ := connect(t, append(ServerOptions(), options...), func(s *grpc.Server) {
		RegisterDevice(s, sdk.Manifest{Name: "demo", Version: "1.2.3", Role: sdk.RoleDevice, Window: 4}, d)
	})
	return newConn(nil, conn)
}

func sinkRun(t *testing.T, write func([]sdk.Record) error) *SinkRun {
	t.Helper()
	conn, _ := connect(t, ServerOptions(), func(s *grpc.Server) {
		pb.RegisterSinkServer(s, &sinkServer{handler: &sink{write: write}})
	})
	run, err := newConn(nil, conn).RunSink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestDescribeOpenAndErrors(t *testing.T) {
	want := OpenDevice{Name: "ark-1", Settings: []byte(`{"a":1}`), Position: []byte("\x00\xff"), StateDir: "s", StagingDir: "t", LogLevel: "debug"}
	c := deviceConn(t, &device{open: func(o OpenDevice) error {
		if fmt.Sprint(o) != fmt.Sprint(want) {
			return fmt.Errorf("opened with %v", o)
		}
		return nil
	}})
	m, err := c.Describe(t.Context())
	if err != nil || m.Name != "demo" || m.Window != 4 || m.Role != sdk.RoleDevice {
		t.Errorf("manifest %+v, %v", m, err)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.OpenDevice(t.Context(), want); err != nil {
		t.Error(err)
	}
	var own *PluginError
	if err := c.CloseDevice(t.Context()); !errors.As(err, &own) || own.Text != "close port: it is gone" {
		t.Errorf("the plugin's own error is %v", err)
	}
	late, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := c.Health(late); !errors.Is(err, ErrHung) {
		t.Errorf("a call over its deadline: %v", err)
	}
	if err := c.OpenSink(t.Context(), OpenSink{}); !errors.As(err, &own) {
		t.Errorf("a call that the plugin does not have: %v", err)
	}
}

// TestDeviceStream sends 5 MiB up, takes an answer, and ends for a reason.
func TestDeviceStream(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 5<<20/10)
	why := errors.New("port closed")
	c := deviceConn(t, &device{run: func(_ context.Context, s DeviceStream) error {
		out := NewOutgoing(0)
		out.Record(&sdk.Record{ID: "1", Kind: "k", Data: payload})
		out.Head(1, "p1")
		if err := s.Send(out); err != nil {
			return err
		}
		if a, err := s.Recv(); err != nil || a != (Answer{Ack: 1, Refused: 2, Reason: sdk.ReasonFull, PollMillis: 3}) {
			return fmt.Errorf("answer %+v, %w", a, err)
		}
		return why
	}})
	run, err := c.RunDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var in Incoming
	if err := run.Recv(&in); err != nil {
		t.Fatal(err)
	}
	var r sdk.Record
	if err := new(Decoder).Record(in.Records[0], &r); err != nil || !bytes.Equal(r.Data, payload) || string(in.Next) != "p1" {
		t.Errorf("%d bytes arrived, position %s, %v", len(r.Data), in.Next, err)
	}
	in.Release()
	if err := run.Send(Answer{Ack: 1, Refused: 2, Reason: sdk.ReasonFull, PollMillis: 3}); err != nil {
		t.Fatal(err)
	}
	if err := run.Recv(&in); err == nil || !strings.Contains(err.Error(), why.Error()) {
		t.Errorf("the stream ended with %v, want %v", err, why)
	}
}

// TestMessageCap holds that neither end takes more than 16 MiB, also from one who does not keep to it.
func TestMessageCap(t *testing.T) {
	huge := make([]byte, maxMessage)
	send := func(_ context.Context, s DeviceStream) error {
		out := NewOutgoing(0)
		out.Record(&sdk.Record{ID: "1", Kind: "k", Data: huge})
		return s.Send(out)
	}
	for name, options := range map[string][]grpc.ServerOption{"plugin keeps to it": nil, "plugin does not": {grpc.MaxSendMsgSize(1 << 30)}} {
		run, err := deviceConn(t, &device{run: send}, options...).RunDevice(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = run.Recv(&Incoming{})
		if sdk.ClassOf(err) != sdk.ClassPermanent || !strings.Contains(err.Error(), "message too large") {
			t.Errorf("%s: %v", name, err)
		}
	}
	run := sinkRun(t, func([]sdk.Record) error { return nil })
	out := NewOutgoing(0)
	out.Raw(AppendRecord(nil, &sdk.Record{ID: "1", Kind: "k", Data: huge}), "d", 0, 1)
	if err := run.Send(out); sdk.ClassOf(err) != sdk.ClassPermanent {
		t.Errorf("the host sends more than the cap: %v", err)
	}
}

func sendRecords(t *testing.T, run *SinkRun, number uint64, again bool, payload []byte, n int) {
	t.Helper()
	out := NewOutgoing(0)
	out.Head(number, "")
	if again {
		out.Again()
	}
	for i := range n {
		out.Raw(AppendRecord(nil, &sdk.Record{ID: fmt.Sprint(i), Kind: "k", Data: payload}), "ark", 1, uint64(i+1))
	}
	if err := run.Send(out); err != nil {
		t.Fatal(err)
	}
}

func outcome(t *testing.T, run *SinkRun) Outcome {
	t.Helper()
	o, err := run.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestSinkOutcomes holds that classes, partial refusals and texts survive, with 5 MiB going down.
func TestSinkOutcomes(t *testing.T) {
	var answer error
	got := 0
	run := sinkRun(t, func(records []sdk.Record) error {
		got = len(records[0].Data)
		return answer
	})
	number := uint64(0)
	write := func(err error) Outcome {
		number++
		answer = err
		sendRecords(t, run, number, true, make([]byte, 5<<20/3), 3)
		return outcome(t, run)
	}
	if o := write(nil); o.Failure != nil || len(o.Errors) > 0 || o.Number != 1 || got != 5<<20/3 {
		t.Errorf("stored: %+v with %d bytes", o, got)
	}
	for c := sdk.ClassNone; c <= sdk.ClassUnknown; c++ {
		o := write(fmt.Errorf("write batch: %w", sdk.WithClass(c, errors.New("why"))))
		if o.Failure == nil || sdk.ClassOf(o.Failure) != c || o.Failure.Error() != "write batch: why" {
			t.Errorf("class %s arrives as %s: %v", c, sdk.ClassOf(o.Failure), o.Failure)
		}
	}
	o := write(fmt.Errorf("write: %w", sdk.RecordErrors{2: errors.New("two"), 0: errors.New("zero")}))
	if o.Failure != nil || fmt.Sprint(o.Errors) != "[{0 zero} {2 two}]" {
		t.Errorf("refused records: %+v", o)
	}
	if o := write(sdk.RecordErrors{}); o.Failure != nil || len(o.Errors) > 0 {
		t.Errorf("no refused record: %+v", o)
	}
	if o := write(sdk.RecordErrors{3: errors.New("three")}); o.Failure == nil {
		t.Error("a record that is not of the batch was refused")
	}
	if o := write(errors.New("")); o.Failure == nil {
		t.Error("an error without a text is no success")
	}
}

// TestAgain holds that nothing is written behind a failure until the host says so.
func TestAgain(t *testing.T) {
	var wrote []int
	fail := true
	run := sinkRun(t, func(records []sdk.Record) error {
		wrote = append(wrote, len(records))
		if fail {
			fail = false
			return sdk.WithClass(sdk.ClassUnavailable, errors.New("no connection"))
		}
		return nil
	})
	for n := 1; n <= 3; n++ {
		sendRecords(t, run, uint64(n), false, nil, n)
	}
	sendRecords(t, run, 4, true, nil, 4)
	sendRecords(t, run, 5, false, nil, 5)
	want := []sdk.Class{sdk.ClassUnavailable, sdk.ClassBusy, sdk.ClassBusy, sdk.ClassNone, sdk.ClassNone}
	for n, class := range want {
		o := outcome(t, run)
		if o.Number != uint64(n+1) || sdk.ClassOf(o.Failure) != class || (n >= 3) != (o.Failure == nil) {
			t.Errorf("batch %d: %+v", n+1, o)
		}
	}
	if fmt.Sprint(wrote) != "[1 4 5]" {
		t.Errorf("wrote batches of %v records", wrote)
	}
}

// TestSinkMayKeepRecords holds that what a sink was given stays as it was, whatever comes after it.
func TestSinkMayKeepRecords(t *testing.T) {
	var kept []sdk.Record
	run := sinkRun(t, func(records []sdk.Record) error {
		kept = append(kept, records...)
		return nil
	})
	for n := range 200 {
		sendRecords(t, run, uint64(n+1), false, bytes.Repeat([]byte{byte(n)}, 5000), 2)
		outcome(t, run)
	}
	for n := range 400 {
		if r := &kept[n]; r.ID != fmt.Sprint(n%2) || r.Source != "ark" || !bytes.Equal(r.Data, bytes.Repeat([]byte{byte(n / 2)}, 5000)) {
			t.Fatalf("record %d of batch %d has changed", n%2, n/2)
		}
	}
}

// TestMalformedRecord holds that a sink is never handed a record that it cannot read.
func TestMalformedRecord(t *testing.T) {
	run := sinkRun(t, func([]sdk.Record) error { return nil })
	out := NewOutgoing(0)
	out.Raw([]byte{0x0a, 0x20}, "ark", 1, 1)
	if err := run.Send(out); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("outcome of a torn record: %v", err)
	}
}

// store is an sdk.Store and an sdk.Cache of one answer.
type store struct {
	changes []sdk.Change
	query   sdk.Query
	result  sdk.Result
	err     error
	wait    chan struct{} // a Write waits until it is closed; nil: it does not
}

func (s *store) Write(_ context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	if s.wait != nil {
		<-s.wait
	}
	s.changes = changes
	return []sdk.Changed{{Outcome: sdk.Conflict, Rows: 7}}, s.err
}

func (s *store) Query(_ context.Context, q sdk.Query) (sdk.Result, error) {
	s.query = q
	return s.result, s.err
}

func (s *store) Get(context.Context, string) ([]byte, bool, error)        { return []byte("v"), true, s.err }
func (s *store) Put(context.Context, string, []byte, time.Duration) error { return s.err }
func (s *store) Drop(context.Context, string) error                       { return s.err }

func storeEnds(t *testing.T, s *store) (*storeClient, *cacheClient, func()) {
	t.Helper()
	conn, cut := connect(t, ServerOptions(), func(srv *grpc.Server) {
		pb.RegisterStoreServer(srv, &storeServer{store: s})
		pb.RegisterCacheServer(srv, &cacheServer{cache: s})
	})
	return newStoreClient(conn, true), &cacheClient{c: pb.NewCacheClient(conn)}, cut
}

func TestStoreRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s := &store{result: sdk.Result{Columns: []string{"a", "b"}, Rows: [][]any{{nil, true}, {int64(1), 1.5}, {"t", []byte{0}}, {at, nil}}, Cached: true}}
	packed, _, _ := storeEnds(t, s)
	for _, c := range []*storeClient{packed, newStoreClient(packed.conn, false)} {
		t.Run(fmt.Sprintf("packed %v", c.packed), func(t *testing.T) { storeRoundTrip(t, s, c, at) })
	}
}

func storeRoundTrip(t *testing.T, s *store, c *storeClient, at time.Time) {
	row := sdk.Row{"i": int64(1), "f": 2.5, "s": "x", "b": []byte("y"), "n": nil, "t": at, "o": true}
	sent := []sdk.Change{
		sdk.Once{Source: "ark", ID: "1", Hash: "h", Seq: 9, Changes: []sdk.Change{
			sdk.Insert{Table: "a", Rows: []sdk.Row{row, row}},
			sdk.Upsert{Table: "b", Key: []string{"i"}, Rows: []sdk.Row{row}},
			sdk.Upsert{Table: "b", Key: []string{"z"}, Columns: []string{"z", "a"}, Values: []any{"1", nil, "2", true}},
			sdk.Insert{Table: "empty"},
		}},
		sdk.Exec{SQL: "delete from a where b = ?", Args: []any{int64(3)}, Want: -1},
	}
	done, err := c.Write(t.Context(), sent...)
	if err != nil || len(done) != 1 || done[0] != (sdk.Changed{Outcome: sdk.Conflict, Rows: 7}) {
		t.Errorf("answer %v, %v", done, err)
	}
	if got, want := fmt.Sprintf("%#v", plain(s.changes)), fmt.Sprintf("%#v", plain(sent)); got != want {
		t.Errorf("arrived\n%s\nwant\n%s", got, want)
	}
	q := sdk.Query{SQL: "select ?", Args: []any{"x"}, MaxRows: 5, CacheFor: time.Minute, CacheNoneFor: time.Second, Tables: []string{"a"}}
	res, err := c.Query(t.Context(), q)
	if err != nil || fmt.Sprintf("%#v", res) != fmt.Sprintf("%#v", s.result) || fmt.Sprintf("%#v", s.query) != fmt.Sprintf("%#v", q) {
		t.Errorf("result %#v of %#v, %v", res, s.query, err)
	}
	for name, bad := range map[string]sdk.Change{
		"type of a value": sdk.Insert{Table: "a", Rows: []sdk.Row{{"x": int8(1)}}},
		"other columns":   sdk.Insert{Table: "a", Rows: []sdk.Row{{"x": 1}, {"y": 1}}},
		"more columns":    sdk.Insert{Table: "a", Rows: []sdk.Row{{"x": 1}, {"x": 1, "y": 1}}},
		"not UTF-8":       sdk.Insert{Table: "a", Rows: []sdk.Row{{"x": "\xff"}}},
		"part of a row":   sdk.Insert{Table: "a", Columns: []string{"x", "y"}, Values: []any{1, 2, 3}},
		"no columns":      sdk.Insert{Table: "a", Values: []any{1}},
		"rows twice":      sdk.Insert{Table: "a", Rows: []sdk.Row{{"x": 1}}, Columns: []string{"x"}, Values: []any{1}},
	} {
		if _, err := c.Write(t.Context(), bad); sdk.ClassOf(err) != sdk.ClassPermanent || !strings.Contains(err.Error(), "table a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// plain gives the rows of changes as values, whichever way they are written.
func plain(changes []sdk.Change) []sdk.Change {
	out := make([]sdk.Change, len(changes))
	for i, c := range changes {
		switch c := c.(type) {
		case sdk.Insert:
			c.Rows, c.Columns, c.Values = c.All(), nil, nil
			out[i] = c
		case sdk.Upsert:
			c.Rows, c.Columns, c.Values = c.All(), nil, nil
			out[i] = c
		case sdk.Once:
			c.Changes = plain(c.Changes)
			out[i] = c
		default:
			out[i] = c
		}
	}
	return out
}

// TestStartLetsTheSinkGoOn begins a write whose answer comes only after Start has returned.
func TestStartLetsTheSinkGoOn(t *testing.T) {
	s := &store{wait: make(chan struct{})}
	c, _, _ := storeEnds(t, s)
	done := c.Start(t.Context(), sdk.Exec{SQL: "x"})
	close(s.wait)
	if out, err := done(); err != nil || len(out) != 1 || out[0].Rows != 7 {
		t.Errorf("answer %v, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.wait = make(chan struct{})
	done = c.Start(ctx, sdk.Exec{SQL: "x"})
	cancel()
	if _, err := done(); sdk.ClassOf(err) != sdk.ClassUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose time ended: %v", err)
	}
	close(s.wait)
}

// TestStoreClasses holds that the class of an error survives the wire, and that no answer is unknown for a write and
// unavailable for a read.
func TestStoreClasses(t *testing.T) {
	s := &store{}
	c, cache, cut := storeEnds(t, s)
	for class := sdk.ClassNone; class <= sdk.ClassUnknown; class++ {
		s.err = sdk.WithClass(class, errors.New("why"))
		if _, err := c.Query(t.Context(), sdk.Query{}); sdk.ClassOf(err) != class || err.Error() != "why" {
			t.Errorf("query: class %s arrives as %s: %v", class, sdk.ClassOf(err), err)
		}
		s.err = &sdk.ChangeError{Index: 4, Err: s.err}
		_, err := c.Write(t.Context())
		var change *sdk.ChangeError
		if sdk.ClassOf(err) != class || !errors.As(err, &change) || change.Index != 4 || change.Err.Error() != "why" {
			t.Errorf("write: class %s arrives as %s: %v", class, sdk.ClassOf(err), err)
		}
		want := sdk.ClassUnavailable
		if class == sdk.ClassPermanent || class == sdk.ClassBusy {
			want = class
		}
		_, _, err = cache.Get(t.Context(), "k")
		for _, err := range []error{err, cache.Put(t.Context(), "k", nil, 0), cache.Drop(t.Context(), "k")} {
			if sdk.ClassOf(err) != want || !strings.Contains(err.Error(), "why") {
				t.Errorf("cache: class %s arrives as %s: %v", class, sdk.ClassOf(err), err)
			}
		}
	}
	if _, err := c.Write(t.Context(), sdk.Exec{SQL: strings.Repeat("x", maxMessage)}); sdk.ClassOf(err) != sdk.ClassPermanent {
		t.Errorf("write of more than the cap: %v", err)
	}
	cut()
	if _, err := c.Write(t.Context()); sdk.ClassOf(err) != sdk.ClassUnknown || !errors.Is(err, ErrGone) {
		t.Errorf("write without a host: %v", err)
	}
	if _, err := c.Query(t.Context(), sdk.Query{}); sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("query without a host: %v", err)
	}
	if _, _, err := cache.Get(t.Context(), "k"); sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("cache without a host: %v", err)
	}
}
