package main_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // its driver
)

// postgresServer starts a PostgreSQL of the test's own, which asks for a password, and gives its address. The test is
// skipped where it is not installed.
func postgresServer(t *testing.T, password string) (addr string) {
	t.Helper()
	bin, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bin) == 0 {
		if required := "," + os.Getenv("HOSTD_REQUIRE") + ","; strings.Contains(required, ",postgres,") || strings.Contains(required, ",all,") {
			t.Fatal("postgres is required and not installed")
		}
		t.Skip("skip: PostgreSQL is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, _ := strings.Cut(addr, ":")
	l.Close()
	dir, err := os.MkdirTemp("", "hostd-postgres-") // below a folder that its user may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	as := ordinaryUser(t, dir, secret)
	program := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin[len(bin)-1], name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, as
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := program("initdb", "-D", data, "-U", "hostd", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale=C", "-N").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	server := program("postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var exit *exec.ExitError
		if err := errors.Join(server.Process.Signal(syscall.SIGQUIT), server.Wait()); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	return addr
}

// ordinaryUser is a user who is not root, which PostgreSQL asks for, and to whom the paths belong then.
func ordinaryUser(t *testing.T, paths ...string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		who, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(who.Uid)
	gid, err2 := strconv.Atoi(who.Gid)
	err = errors.Join(err1, err2)
	for _, p := range paths {
		err = errors.Join(err, os.Chown(p, uid, gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// TestOnAServer: check says what keeps it from the server, and in whose words never; the host delivers into it, and its
// tables are read and compared there.
func TestOnAServer(t *testing.T) {
	t.Parallel()
	const password = "correct-horse"
	addr := postgresServer(t, password)
	dsn := func(password, database string) string {
		return fmt.Sprintf("postgres://hostd:%s@%s/%s", password, addr, database)
	}
	db, err := sql.Open("pgx", dsn(password, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	awaitServer(t, db)

	c := newClinic(t, "database: {driver: postgres, dsn: '${file:dsn}'}"+
		strings.Replace(mappedConfig, "devices:\n", "devices:\n  - {name: gen2, plugin: generator, settings: {count: 50}}\n", 1)+
		"  - {name: emr2, plugin: sql}\nroutes:\n  - {from: gen, to: [emr]}\n  - {from: gen2, to: [emr2]}\n")
	for _, wrong := range []struct{ dsn, says string }{
		{dsn("wrong-horse", "postgres"), "the server refused the login"},
		{dsn(password, "emr"), "there is no such database on the server"},
		{strings.Replace(dsn(password, "postgres"), addr, "127.0.0.1:1", 1), "nobody listens there"},
	} {
		c.write("dsn", wrong.dsn+"\n")
		out, errs, code := c.hostd("check")
		if got := lines(errs, "hostd: "); code != 3 || len(got) != 1 || !strings.Contains(got[0], wrong.says) || strings.Contains(out+errs, "horse") {
			t.Errorf("%s: exit %d\n%s%s", wrong.says, code, out, errs)
		}
		found := c.doctor(3)
		if got := faults(found, "database"); len(got) != 1 || !strings.Contains(got[0], wrong.says) || strings.Contains(fmt.Sprint(found), "horse") {
			t.Errorf("doctor, %s: %+v", wrong.says, found)
		}
	}

	c.write("dsn", dsn(password, "postgres")+"\n")
	script, errs, code := c.hostd("check")
	if got := lines(errs, "hostd.yaml:"); code != 2 || len(got) != 2 || !strings.Contains(script, `CREATE TABLE "visit" (`) {
		t.Fatalf("without tables: exit %d\n%s%s", code, script, errs)
	}
	for _, text := range []string{script, "CREATE TABLE patient (chart_no BIGINT PRIMARY KEY, device_id TEXT)"} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	c.must("check")
	c.doctor(0)
	c.start()
	c.until("delivered", func(s status) bool { return sink(s, "emr").Delivered == 50 && sink(s, "emr2").Delivered == 50 })
	if out := c.must("exams", "-n", "7"); strings.Count(out, "\n") != 8 {
		t.Errorf("exams:\n%s", out)
	}
	c.must("check")
	c.stop()
	if n := one(t, db, "SELECT count(*) FROM ingest_receipt"); n != 100 {
		t.Errorf("%d receipts, want 100", n)
	}
	if n := one(t, db, "SELECT count(*) FROM visit"); n != 50 {
		t.Errorf("%d rows in the clinic's table, want 50", n)
	}
	if list := c.below("data", "hostd.db*"); len(list) > 0 {
		t.Errorf("an embedded database was made: %q", list)
	}
	shown := c.must("check", "--print") + c.log() + strings.Join(c.below("log", "*"), "")
	if strings.Contains(shown, "horse") || slices.ContainsFunc(c.below("data", "*.ndjson"), func(f string) bool { return strings.Contains(c.read("data/"+f), "horse") }) {
		t.Error("the password is shown")
	}
}

// awaitServer waits until the server answers.
func awaitServer(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err := db.PingContext(ctx); err != nil; err = db.PingContext(ctx) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // between two looks at another process
	}
}
