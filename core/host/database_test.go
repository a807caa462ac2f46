package host

import (
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/dbpool"
)

// What a configuration accepts as driver is what there is a dialect for.
func TestDriversOfConfigurationAndPool(t *testing.T) {
	have, known := config.Drivers(), dbpool.Drivers()
	slices.Sort(have)
	slices.Sort(known)
	if !slices.Equal(have, known) {
		t.Errorf("config.Drivers are %q, those of dbpool %q", have, known)
	}
}

// Every setting of the database arrives at the pool, with its unit.
func TestDatabaseOptions(t *testing.T) {
	c := config.Default()
	c.Database = config.Database{Driver: "postgres", DSN: "host=db", Receipts: config.Receipts{Keep: 500 * time.Hour}, Pool: config.Pool{
		MaxOpen: 9, MaxIdle: 3, MaxLifetime: 5 * time.Minute, AcquireTimeout: 1, OperationTimeout: 2, ConnectTimeout: 3, SlowQuery: 4, PerSink: 5, QueryLog: true,
		Monitor: config.Monitor{Enabled: true, Interval: time.Minute, WarnAt: 85},
	}}
	got := databaseOptions(c, &places{database: "x/hostd.db"})
	want := dbpool.Options{
		Driver: "postgres", Path: "x/hostd.db", DSN: "host=db", MaxOpen: 9, MaxIdle: 3, MaxLifetime: 5 * time.Minute, AcquireTimeout: 1, OperationTimeout: 2,
		ConnectTimeout: 3, SlowQuery: 4, PerSink: 5, MonitorEnabled: true, MonitorInterval: time.Minute, WarnAt: 0.85, QueryLog: true, ReceiptWindow: 500 * time.Hour,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options\n%+v\nwant\n%+v", got, want)
	}
}

// A server that is not there is a fault of the machine in check, and stops neither the start nor the intake; nobody looks
// for a file, and nothing shows the password.
func TestServerThatIsNotThere(t *testing.T) {
	cfg := machine(t)
	cfg.Database.Driver, cfg.Database.DSN = "postgres", config.Secret("postgres://hostd:hunter2@"+noPort(t)+"/clinic")
	found := Check(t.Context(), cfg)
	if len(found.Environment) != 1 || found.Faults != nil {
		t.Fatalf("%+v", found)
	}
	said := found.Environment[0].Error()
	if !strings.Contains(said, "nobody listens there") {
		t.Error(said)
	}
	if _, err := Exams(t.Context(), cfg, 1); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("exams: %v", err)
	}
	if _, err := tryOpen(t, cfg); err == nil || strings.Contains(err.Error()+said, "hunter2") {
		t.Errorf("open: %v", err)
	}
	if err := opened(t, cfg); err != nil {
		t.Errorf("run does not start: %v", err)
	}
}

// tryOpen opens the pool as the host does.
func tryOpen(t *testing.T, c *config.Config) (*dbpool.Pool, error) {
	t.Helper()
	o := databaseOptions(c, &places{})
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return dbpool.Open(t.Context(), o)
}

// noPort is an address at which nobody listens.
func noPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
