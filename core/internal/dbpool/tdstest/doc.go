// Package tdstest plays SQL Server to a test: a server of the TDS protocol (MS-TDS, version 7.4) to which go-mssqldb
// really connects. It is not an SQL engine. A Script, given by the test, answers what arrives; the server keeps what
// belongs to the protocol: prelogin, TLS, login, sessions and their reset, transactions and their descriptors,
// attention, bulk load, typed parameters and rows.
//
//	db := tdstest.NewTables().Key("exam", "id")
//	srv := tdstest.Start(t, tdstest.Config{Script: func(s *tdstest.Session, r tdstest.Request) tdstest.Reply {
//		if !strings.Contains(r.Text, "OPENJSON") {
//			return tdstest.Fail(tdstest.SQLError(208))
//		}
//		var n int64
//		err := s.Atomic(func() error { // what BEGIN and COMMIT TRANSACTION in the text do
//			rows, err := tdstest.ParseRows(r.Param("@p1"))
//			if err == nil {
//				n, err = db.InsertMissing(s, "exam", rows...)
//			}
//			return err
//		})
//		if err != nil {
//			return tdstest.Fail(err)
//		}
//		return tdstest.Affected(n)
//	}})
//	pool, err := sql.Open("sqlserver", srv.DSN())
//	cut := srv.Inject(tdstest.Fault{At: tdstest.Answer, Do: tdstest.Cut}) // applied, and nobody is told
//	_, err = pool.ExecContext(ctx, insert, mssql.NVarCharMax(json))       // a connection error
//	<-cut.Hit()                                                           // and db.Count("exam") says what was kept
//
// Faults come from the test's goroutine at any moment: Inject waits for a point in the life of a request, Session.Freeze
// and Session.Cut act at once, Server.Freeze, Stop, Listen, Restart and RefuseLogins mean the whole server. Server.Wait
// is how a test waits for what the server has seen.
//
// Section numbers in comments are those of the specification MS-TDS; a token is cited by its name in section 2.2.7.
package tdstest
