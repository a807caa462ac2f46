package dbpool_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/dbpool"
	_ "github.com/jackc/pgx/v5/stdlib" // its driver
)

// postgresServer is a PostgreSQL of the tests' own, started by the first test that needs it and ended after the last.
type postgresServer struct {
	once  sync.Once
	why   string // there is none
	dir   string
	port  int
	cmd   *exec.Cmd
	admin *sql.DB
	names atomic.Int64
}

var postgres postgresServer

// postgresOf gives the server, or skips the test where PostgreSQL is not installed.
func postgresOf(tb testing.TB) *database {
	tb.Helper()
	postgres.once.Do(func() { postgres.start() })
	if postgres.why != "" {
		skip(tb, "postgres", postgres.why)
	}
	return &database{
		served: true,
		fresh:  postgres.fresh,
		hold:   postgres.hold,
		clinic: `
CREATE TABLE visit (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chart TEXT NOT NULL UNIQUE, room TEXT, score DOUBLE PRECISION, at TIMESTAMPTZ);
CREATE TABLE ward (name TEXT PRIMARY KEY);
CREATE TABLE bed (id INTEGER PRIMARY KEY, ward TEXT NOT NULL REFERENCES ward(name), next_to INTEGER REFERENCES bed(id));
CREATE TABLE tally (n BIGINT NOT NULL);
INSERT INTO tally VALUES (0);
CREATE TABLE watched (id INTEGER PRIMARY KEY, seen INTEGER);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE watched SET seen = (SELECT count(*) FROM visit) WHERE id = new.id; RETURN NULL; END';
CREATE TRIGGER watching AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TABLE kinds (id INTEGER PRIMARY KEY, n BIGINT, f DOUBLE PRECISION, s TEXT, b BYTEA, yes BOOLEAN, at TIMESTAMPTZ);
`,
		blob:    "SELECT convert_to(repeat('x', ?), 'UTF8')",
		session: "SET default_transaction_read_only = off",
		last:    "lastval()",
		columns: "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?",
		yes:     true,
		at:      func(t time.Time) any { return t.UTC().Round(time.Microsecond) },
		tick:    time.Microsecond,
		bad:     "SELECT CAST(? AS INTEGER)",
		add:     "ADD COLUMN",
		series:  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < CAST(? AS INTEGER)) SELECT x FROM c",
		slow:    slow,
		and:     " WHERE",
		octet:   "x'01'",
		leaks: map[string]string{
			"cast":   "UPDATE visit SET score = CAST(? AS INTEGER)",
			"date":   "UPDATE visit SET at = ?",
			"json":   "UPDATE visit SET room = CAST(? AS JSONB) ->> 'a'",
			"regexp": "UPDATE visit SET room = substring('a' FROM '(' || ?)",
			"xml":    "UPDATE visit SET room = CAST(CAST(? AS UUID) AS TEXT)",
		},
	}
}

// skip says what is not here; where HOSTD_REQUIRE names it, that is a failure.
func skip(tb testing.TB, what, why string) {
	tb.Helper()
	required := "," + os.Getenv("HOSTD_REQUIRE") + ","
	if strings.Contains(required, ","+what+",") || strings.Contains(required, ",all,") {
		tb.Fatalf("%s is required and not here: %s", what, why)
	}
	tb.Skipf("skip: %s is not here: %s", what, why)
}

func (s *postgresServer) start() {
	bin, err := postgresBin()
	if err == nil {
		err = s.run(bin)
	}
	if err != nil {
		s.why = errors.Join(err, s.stop()).Error()
	}
}

// postgresBin is the folder of the newest PostgreSQL.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(all) == 0 {
		return "", errors.New("no initdb in PATH, nor in /usr/lib/postgresql")
	}
	newest, best := "", 0
	for _, dir := range all {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && n > best {
			newest, best = dir, n
		}
	}
	return newest, nil
}

func (s *postgresServer) run(bin string) (err error) {
	if s.dir, err = os.MkdirTemp("", "hostd-postgres-"); err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "hostd", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	if err := ordinary(initdb, s.dir); err != nil {
		return err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	free.Close()
	return s.serve(bin, data)
}

// serve starts the server; it may be called again after an end.
func (s *postgresServer) serve(bin, data string) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "shared_buffers=64MB", "-c", "deadlock_timeout=50ms", "-c", "fsync="+onOff(benchmarking()))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := ordinary(s.cmd, s.dir); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if s.admin == nil {
		if s.admin, err = sql.Open("pgx", s.dsn("")); err != nil {
			return err
		}
	}
	return s.ready()
}

// ready waits until the server answers.
func (s *postgresServer) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.admin.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// restart ends all connections and the server, at once, and starts it again.
func (s *postgresServer) restart(tb testing.TB) {
	tb.Helper()
	if err := errors.Join(quit(s.cmd), s.serve(filepath.Dir(s.cmd.Path), filepath.Join(s.dir, "data"))); err != nil {
		tb.Fatal(err)
	}
}

// stop is called after the last test.
func (s *postgresServer) stop() error {
	var errs []error
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	if s.cmd != nil && s.cmd.Process != nil {
		errs = append(errs, quit(s.cmd))
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (s *postgresServer) dsn(schema string) string {
	dsn := fmt.Sprintf("postgres://hostd@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	if schema != "" {
		dsn += "&search_path=" + schema
	}
	return dsn
}

// fresh makes a schema for the test, which is to a pool what a database is.
func (s *postgresServer) fresh(tb testing.TB, o dbpool.Options) dbpool.Options {
	tb.Helper()
	schema := fmt.Sprint("t", s.names.Add(1))
	s.exec(tb, "CREATE SCHEMA "+schema)
	tb.Cleanup(func() { s.exec(tb, "DROP SCHEMA "+schema+" CASCADE") })
	o.Driver, o.DSN = "postgres", s.dsn(schema)
	return o
}

// exec runs a statement beside every pool.
func (s *postgresServer) exec(tb testing.TB, text string, args ...any) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := s.admin.ExecContext(ctx, text, args...); err != nil {
		tb.Fatal(err)
	}
}

// hold locks what the expression waits for.
func (s *postgresServer) hold(tb testing.TB) (expr string, open func()) {
	tb.Helper()
	n := s.names.Add(1)
	conn, err := s.admin.Conn(context.Background())
	if err == nil {
		_, err = conn.ExecContext(context.Background(), "SELECT pg_advisory_lock($1)", n)
	}
	if err != nil {
		tb.Fatal(err)
	}
	open = sync.OnceFunc(func() {
		_, err := conn.ExecContext(context.Background(), "SELECT pg_advisory_unlock($1)", n)
		if err = errors.Join(err, conn.Close()); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(open)
	return fmt.Sprintf("length(pg_advisory_xact_lock_shared(%d)::text) + 1", n), open
}

func benchmarking() bool { return flag.Lookup("test.bench").Value.String() != "" }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
