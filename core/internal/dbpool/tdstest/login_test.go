package tdstest_test

import (
	"crypto/tls"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/hostd/hostd/core/internal/dbpool/tdstest"
)

func TestLogin(t *testing.T) {
	srv := tdstest.Start(t, tdstest.Config{User: "nurse", Password: "öffne!{}", Databases: []string{"clinic", "other"}})
	db := open(t, srv, "app name=host")
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := srv.Sessions()
	if len(s) != 1 || s[0].User() != "nurse" || s[0].Database() != "clinic" || s[0].App() != "host" || s[0].ID() != 1 {
		t.Fatalf("sessions %+v", s)
	}
	db.Close()
	await(t, srv, func(c tdstest.Counts) bool { return c.Open == 0 })
	if c := srv.Counts(); c.Ever != 1 || c.Logins != 1 || c.Requests != 1 || c.Refused != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestLoginIsRefused(t *testing.T) {
	busy := tdstest.SQLError(40613)
	tests := map[string]struct {
		dsn    func(srv *tdstest.Server) string
		refuse *tdstest.Error
		all    []int32 // numbers in their order; the last is that of the error
	}{
		"user":     {func(srv *tdstest.Server) string { return strings.Replace(srv.DSN(), "hostd:", "nobody:", 1) }, nil, []int32{18456}},
		"password": {func(srv *tdstest.Server) string { return strings.Replace(srv.DSN(), "only-for", "by", 1) }, nil, []int32{18456}},
		"database": {func(srv *tdstest.Server) string { return srv.DSN("database=absent") }, nil, []int32{4060, 18456}},
		"command":  {func(srv *tdstest.Server) string { return srv.DSN() }, &busy, []int32{40613}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			srv := tdstest.Start(t, tdstest.Config{})
			srv.RefuseLogins(test.refuse)
			db, err := sql.Open("sqlserver", test.dsn(srv))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.PingContext(t.Context())
			var e mssql.Error
			if !errors.As(err, &e) || len(e.All) != len(test.all) || e.Number != test.all[len(test.all)-1] {
				t.Fatalf("got %#v, want errors %d", err, test.all)
			}
			for i, want := range test.all {
				if e.All[i].Number != want {
					t.Errorf("error %d is %d, want %d", i, e.All[i].Number, want)
				}
			}
			if c := srv.Counts(); c.Refused != 1 || c.Logins != 0 {
				t.Errorf("counts %+v", c)
			}
			srv.RefuseLogins(nil)
			if err := open(t, srv).PingContext(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestEncryption(t *testing.T) {
	cert, pem, err := tdstest.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		cert    *tls.Certificate
		options []string
		refused bool
	}{
		"none":                        {&cert, []string{"encrypt=disable"}, false},
		"of the login alone":          {&cert, []string{"encrypt=false", "trustservercertificate=true"}, false},
		"certificate trusted by file": {&cert, []string{"encrypt=true", "certificate=" + file}, false},
		"any certificate trusted":     {&cert, []string{"encrypt=true", "trustservercertificate=true"}, false},
		"large packets":               {&cert, []string{"encrypt=true", "trustservercertificate=true", "packet size=32767"}, false},
		"certificate not trusted":     {&cert, []string{"encrypt=true"}, true},
		"server has none":             {nil, []string{"encrypt=true", "trustservercertificate=true"}, true},
		"the driver's default":        {&cert, []string{"encrypt="}, false},
		"server has none, none asked": {nil, []string{"encrypt=false"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			srv := tdstest.Start(t, tdstest.Config{Certificate: test.cert, Script: echo})
			db := open(t, srv, test.options...)
			if err := db.PingContext(t.Context()); (err != nil) != test.refused {
				t.Fatalf("ping: %v", err)
			}
			if test.refused {
				return
			}
			want := long(100_000)
			var got string
			if err := db.QueryRowContext(t.Context(), "echo @p1", mssql.NVarCharMax(want)).Scan(&got); err != nil || got != want {
				t.Errorf("got %d bytes of %d: %v", len(got), len(want), err)
			}
		})
	}
}
