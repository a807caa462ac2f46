package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

type storeServer struct {
	pb.UnimplementedStoreServer
	store sdk.Store
}

func (s *storeServer) Write(ctx context.Context, r *pb.WriteRequest) (*pb.WriteReply, error) {
	changes, err := requestFrom(r)
	if err != nil {
		return &pb.WriteReply{Failure: failureOf(sdk.Permanent(err))}, nil
	}
	done, err := s.store.Write(ctx, changes...)
	if err != nil {
		return &pb.WriteReply{Failure: failureOf(err)}, nil
	}
	reply := &pb.WriteReply{Changed: make([]*pb.Changed, len(done))}
	for i, c := range done {
		reply.Changed[i] = &pb.Changed{Outcome: uint32(c.Outcome), Rows: c.Rows}
	}
	return reply, nil
}

func (s *storeServer) Query(ctx context.Context, r *pb.QueryRequest) (*pb.QueryReply, error) {
	res, err := s.store.Query(ctx, sdk.Query{
		SQL: r.GetSql(), Args: valuesFrom(r.GetArgs()), MaxRows: int(r.GetMaxRows()),
		CacheFor: time.Duration(r.GetCacheForNs()), CacheNoneFor: time.Duration(r.GetCacheNoneForNs()), Tables: r.GetTables(),
	})
	if err != nil {
		return &pb.QueryReply{Failure: failureOf(err)}, nil
	}
	reply := &pb.QueryReply{Columns: res.Columns, Cached: res.Cached, Rows: make([]*pb.Row, len(res.Rows))}
	for i, row := range res.Rows {
		vals, err := valuesTo(row)
		if err != nil {
			return &pb.QueryReply{Failure: failureOf(sdk.Permanent(err))}, nil
		}
		reply.Rows[i] = &pb.Row{Values: vals}
	}
	return reply, nil
}

type storeClient struct {
	conn   *grpc.ClientConn
	c      pb.StoreClient
	packed bool // the host takes packed changes
}

func newStoreClient(conn *grpc.ClientConn, packed bool) *storeClient {
	return &storeClient{conn: conn, c: pb.NewStoreClient(conn), packed: packed}
}

func (s *storeClient) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	return s.Start(ctx, changes...)()
}

// Start is that of sdk.StoreAhead: an ordinary call whose answer is read later.
func (s *storeClient) Start(ctx context.Context, changes ...sdk.Change) (done func() ([]sdk.Changed, error)) {
	failed := func(err error) func() ([]sdk.Changed, error) {
		return func() ([]sdk.Changed, error) { return nil, err }
	}
	req, err := s.request(changes)
	if err != nil {
		return failed(sdk.Permanent(err))
	}
	call, err := s.conn.NewStream(ctx, &grpc.StreamDesc{}, pb.Store_Write_FullMethodName)
	if err == nil {
		err = call.SendMsg(req)
	}
	if err != nil {
		return failed(callError(sdk.ClassUnknown, err))
	}
	return func() ([]sdk.Changed, error) {
		var reply pb.WriteReply
		if err := call.RecvMsg(&reply); err != nil {
			return nil, callError(sdk.ClassUnknown, err)
		}
		return changedFrom(&reply)
	}
}

func (s *storeClient) request(changes []sdk.Change) (r *pb.WriteRequest, err error) {
	r = &pb.WriteRequest{}
	if s.packed {
		r.Packed, err = pack(changes)
	} else {
		r.Changes, err = changesTo(changes)
	}
	return r, err
}

func requestFrom(r *pb.WriteRequest) ([]sdk.Change, error) {
	if len(r.GetPacked()) == 0 {
		return changesFrom(r.GetChanges())
	}
	if len(r.GetChanges()) > 0 {
		return nil, fmt.Errorf("%w: changes are given twice, plain and packed", ErrMessage)
	}
	return unpack(r.GetPacked())
}

func changedFrom(reply *pb.WriteReply) ([]sdk.Changed, error) {
	if f := reply.GetFailure(); f != nil {
		return nil, errorFrom(f)
	}
	done := make([]sdk.Changed, len(reply.GetChanged()))
	for i, c := range reply.GetChanged() {
		done[i] = sdk.Changed{Outcome: sdk.Outcome(c.GetOutcome()), Rows: c.GetRows()}
	}
	return done, nil
}

func (s *storeClient) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	args, err := valuesTo(q.Args)
	if err != nil {
		return sdk.Result{}, sdk.Permanent(err)
	}
	reply, err := s.c.Query(ctx, &pb.QueryRequest{
		Sql: q.SQL, Args: args, MaxRows: int32(q.MaxRows),
		CacheForNs: int64(q.CacheFor), CacheNoneForNs: int64(q.CacheNoneFor), Tables: q.Tables,
	})
	if err != nil {
		return sdk.Result{}, callError(sdk.ClassUnavailable, err)
	}
	if f := reply.GetFailure(); f != nil {
		return sdk.Result{}, errorFrom(f)
	}
	res := sdk.Result{Columns: reply.GetColumns(), Cached: reply.GetCached(), Rows: make([][]any, len(reply.GetRows()))}
	for i, row := range reply.GetRows() {
		res.Rows[i] = valuesFrom(row.GetValues())
	}
	return res, nil
}

type cacheServer struct {
	pb.UnimplementedCacheServer
	cache sdk.Cache
}

func (c *cacheServer) Get(ctx context.Context, r *pb.CacheGetRequest) (*pb.CacheGetReply, error) {
	v, ok, err := c.cache.Get(ctx, r.GetKey())
	return &pb.CacheGetReply{Found: ok, Value: v}, cacheStatus(err)
}

func (c *cacheServer) Put(ctx context.Context, r *pb.CachePutRequest) (*pb.CachePutReply, error) {
	return &pb.CachePutReply{}, cacheStatus(c.cache.Put(ctx, r.GetKey(), r.GetValue(), time.Duration(r.GetTtlNs())))
}

func (c *cacheServer) Drop(ctx context.Context, r *pb.CacheDropRequest) (*pb.CacheDropReply, error) {
	return &pb.CacheDropReply{}, cacheStatus(c.cache.Drop(ctx, r.GetKey()))
}

type cacheClient struct{ c pb.CacheClient }

func (c *cacheClient) Get(ctx context.Context, key string) ([]byte, bool, error) {
	r, err := c.c.Get(ctx, &pb.CacheGetRequest{Key: key})
	return r.GetValue(), r.GetFound(), callError(sdk.ClassUnavailable, err)
}

func (c *cacheClient) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := c.c.Put(ctx, &pb.CachePutRequest{Key: key, Value: value, TtlNs: int64(ttl)})
	return callError(sdk.ClassUnavailable, err)
}

func (c *cacheClient) Drop(ctx context.Context, key string) error {
	_, err := c.c.Drop(ctx, &pb.CacheDropRequest{Key: key})
	return callError(sdk.ClassUnavailable, err)
}

// callError is the error of a call whose answer did not come, of the class c unless the error itself says one.
func callError(c sdk.Class, err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		c = sdk.ClassPermanent
	case codes.Aborted:
		c = sdk.ClassBusy
	default:
	}
	err = fromRPC(err)
	if sdk.ClassOf(err) != sdk.ClassNone {
		return err
	}
	return sdk.WithClass(c, err)
}

// cacheStatus carries an error's class in gRPC's code, since an answer of the cache has no place for it. What is
// neither permanent nor busy arrives as unavailable: a cache that fails is never a fault of the record.
func cacheStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Unknown
	switch sdk.ClassOf(err) {
	case sdk.ClassPermanent:
		code = codes.FailedPrecondition
	case sdk.ClassBusy:
		code = codes.Aborted
	default:
	}
	return status.Error(code, err.Error())
}

func failureOf(err error) *pb.Failure {
	f := &pb.Failure{Text: err.Error(), Class: pb.Class(sdk.ClassOf(err)), Change: -1}
	var ce *sdk.ChangeError
	if errors.As(err, &ce) {
		f.Text, f.Change = ce.Err.Error(), int32(ce.Index)
	}
	return f
}

func errorFrom(f *pb.Failure) error {
	err := sdk.WithClass(sdk.Class(f.GetClass()), &PluginError{Text: f.GetText()})
	if f.GetChange() >= 0 {
		return &sdk.ChangeError{Index: int(f.GetChange()), Err: err}
	}
	return err
}

func changesTo(changes []sdk.Change) ([]*pb.Change, error) {
	out := make([]*pb.Change, len(changes))
	for i, c := range changes {
		m, err := changeTo(c)
		if err != nil {
			return nil, fmt.Errorf("change %d: %w", i, err)
		}
		out[i] = m
	}
	return out, nil
}

func changeTo(c sdk.Change) (*pb.Change, error) {
	switch c := c.(type) {
	case sdk.Insert:
		rows, err := rowsTo(c.Table, nil, c.Rows, c.Columns, c.Values)
		return &pb.Change{Kind: &pb.Change_Insert{Insert: rows}}, err
	case sdk.Upsert:
		rows, err := rowsTo(c.Table, c.Key, c.Rows, c.Columns, c.Values)
		return &pb.Change{Kind: &pb.Change_Upsert{Upsert: rows}}, err
	case sdk.Exec:
		args, err := valuesTo(c.Args)
		return &pb.Change{Kind: &pb.Change_Exec{Exec: &pb.Exec{Sql: c.SQL, Args: args, Want: c.Want}}}, err
	case sdk.Once:
		inner, err := changesTo(c.Changes)
		return &pb.Change{Kind: &pb.Change_Once{Once: &pb.Once{Source: c.Source, Id: c.ID, Hash: c.Hash, Seq: c.Seq, Changes: inner}}}, err
	default:
		return nil, fmt.Errorf("change of type %T", c)
	}
}

func rowsTo(table string, key []string, rows []sdk.Row, columns []string, values []any) (*pb.Rows, error) {
	flat, err := flatten(table, rows, columns, values)
	if err != nil {
		return nil, err
	}
	width, made := len(flat.columns), newValues(len(flat.values))
	out := &pb.Rows{Table: table, Key: key, Columns: flat.columns, Rows: make([]*pb.Row, flat.rows())}
	for i := range out.GetRows() {
		vals := make([]*pb.Value, width)
		for j := range vals {
			if vals[j], err = made.of(flat.values[i*width+j]); err != nil {
				return nil, fmt.Errorf("table %s: column %s: %w", table, flat.columns[j], err)
			}
		}
		out.Rows[i] = &pb.Row{Values: vals}
	}
	return out, nil
}

func changesFrom(in []*pb.Change) ([]sdk.Change, error) {
	out := make([]sdk.Change, len(in))
	for i, m := range in {
		switch k := m.GetKind().(type) {
		case *pb.Change_Insert:
			values, err := rowsFrom(k.Insert)
			if err != nil {
				return nil, err
			}
			out[i] = sdk.Insert{Table: k.Insert.GetTable(), Columns: k.Insert.GetColumns(), Values: values}
		case *pb.Change_Upsert:
			values, err := rowsFrom(k.Upsert)
			if err != nil {
				return nil, err
			}
			out[i] = sdk.Upsert{Table: k.Upsert.GetTable(), Key: k.Upsert.GetKey(), Columns: k.Upsert.GetColumns(), Values: values}
		case *pb.Change_Exec:
			out[i] = sdk.Exec{SQL: k.Exec.GetSql(), Args: valuesFrom(k.Exec.GetArgs()), Want: k.Exec.GetWant()}
		case *pb.Change_Once:
			inner, err := changesFrom(k.Once.GetChanges())
			if err != nil {
				return nil, err
			}
			out[i] = sdk.Once{Source: k.Once.GetSource(), ID: k.Once.GetId(), Hash: k.Once.GetHash(), Seq: k.Once.GetSeq(), Changes: inner}
		default:
			return nil, fmt.Errorf("change %d: %w", i, ErrMessage)
		}
	}
	return out, nil
}

func rowsFrom(m *pb.Rows) ([]any, error) {
	values := make([]any, 0, len(m.GetRows())*len(m.GetColumns()))
	for i, r := range m.GetRows() {
		if len(r.GetValues()) != len(m.GetColumns()) {
			return nil, fmt.Errorf("table %s: row %d: %w", m.GetTable(), i, ErrMessage)
		}
		for _, v := range r.GetValues() {
			values = append(values, valueFrom(v))
		}
	}
	return values, nil
}
