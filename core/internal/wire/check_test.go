package wire

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"google.golang.org/grpc"

	"github.com/hostd/hostd/core/internal/wire/pb"
	"github.com/hostd/hostd/core/sdk"
)

// catalog is a store that describes one table.
type catalog struct {
	store
	table sdk.Table
	asked string
}

func (c *catalog) Table(_ context.Context, name string) (sdk.Table, error) {
	c.asked = name
	return c.table, c.err
}

// checked is the host's end of a sink that is checked, whose store is s.
func checked(t *testing.T, s sdk.Store, check func(context.Context, OpenSink, sdk.Store, sdk.Catalog) ([]sdk.Finding, error)) *Conn {
	t.Helper()
	host, _ := connect(t, ServerOptions(), func(srv *grpc.Server) { pb.RegisterStoreServer(srv, &storeServer{store: s}) })
	conn, _ := connect(t, ServerOptions(), func(srv *grpc.Server) {
		pb.RegisterSinkServer(srv, &sinkServer{conn: host, handler: &sink{check: check}})
	})
	return newConn(nil, conn)
}

// TestCheckRoundTrip holds that what a sink finds, and what it is told of a table, arrive whole.
func TestCheckRoundTrip(t *testing.T) {
	s := &catalog{table: sdk.Table{
		Database: "sqlite", Name: "IOP", Near: "IOPS",
		Columns: []sdk.Column{{Name: "EYE", Type: "TEXT", MaxLength: 2}, {Name: "N", Type: "INTEGER", Nullable: true, Filled: true}},
		Keys:    [][]string{{"EYE", "N"}, {"N"}},
	}}
	want := []sdk.Finding{
		{Severity: sdk.SeverityFault, Setting: "tables[0].name", Text: "there is no such table", Proposal: "CREATE TABLE"},
		{Severity: sdk.SeverityNote, Text: "slow"},
	}
	conn := checked(t, s, func(ctx context.Context, o OpenSink, store sdk.Store, tables sdk.Catalog) ([]sdk.Finding, error) {
		got, err := tables.Table(ctx, "dbo.IOP")
		if err != nil || !reflect.DeepEqual(got, s.table) || s.asked != "dbo.IOP" {
			t.Errorf("table %q arrives as %+v, %v", s.asked, got, err)
		}
		if _, err := store.Query(ctx, sdk.Query{SQL: "select 1"}); err != nil || o.Name != "emr" || string(o.Settings) != "{}" {
			t.Errorf("opened with %+v, %v", o, err)
		}
		s.err = sdk.WithClass(sdk.ClassBusy, errors.New("locked"))
		if _, err := tables.Table(ctx, ""); sdk.ClassOf(err) != sdk.ClassBusy || err.Error() != "locked" {
			t.Errorf("a failure arrives as %v", err)
		}
		return want, nil
	})
	got, err := conn.CheckSink(t.Context(), OpenSink{Name: "emr", Settings: []byte("{}")})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, %v", got, err)
	}
}

// TestCheckOfOthers: one without the ability finds nothing, an error arrives, more findings than the limit are cut, and a
// store that is no catalog says so.
func TestCheckOfOthers(t *testing.T) {
	old, _ := connect(t, ServerOptions(), func(srv *grpc.Server) { pb.RegisterSinkServer(srv, pb.UnimplementedSinkServer{}) })
	if got, err := newConn(nil, old).CheckSink(t.Context(), OpenSink{}); got != nil || err != nil {
		t.Errorf("one that does not know the call: %v, %v", got, err)
	}
	conn := checked(t, &store{}, func(ctx context.Context, _ OpenSink, _ sdk.Store, tables sdk.Catalog) ([]sdk.Finding, error) {
		_, err := tables.Table(ctx, "IOP")
		return nil, err
	})
	if _, err := conn.CheckSink(t.Context(), OpenSink{}); err == nil {
		t.Error("a store that is no catalog describes a table")
	}
	conn = checked(t, &store{}, func(context.Context, OpenSink, sdk.Store, sdk.Catalog) (list []sdk.Finding, _ error) {
		for i := range sdk.MaxFindings + 1 {
			list = append(list, sdk.Finding{Severity: "odd", Text: fmt.Sprint(i)})
		}
		return list, nil
	})
	got, err := conn.CheckSink(t.Context(), OpenSink{})
	if err != nil || len(got) != sdk.MaxFindings || got[0].Severity != sdk.SeverityFault {
		t.Errorf("%d findings, %v", len(got), err)
	}
}
