package tdstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Script answers a request; it is called on the session's own goroutine, so it may block, but must give up when
// Session.Canceled is closed. The zero Reply is success without rows; for a Bulk it is the number of its rows. The
// server itself answers requests of the transaction manager, a text that is only BEGIN, COMMIT or ROLLBACK TRANSACTION,
// the driver's ping, and what surrounds a bulk load except "select * from [table] SET FMTONLY OFF", which the script
// answers with columns and no rows. Beware: go-mssqldb takes a text of one word for the name of a procedure.
type Script func(*Session, Request) Reply

// Reply is the answer to a request: the results of its statements in their order.
type Reply struct {
	Results []Result

	poison bool
}

// Result is the outcome of one statement.
type Result struct {
	Delay    time.Duration // before it, when what came earlier has left
	Columns  []Column      // nil: it returns no rows
	Rows     [][]any       // one value per column: nil, an integer, float64, bool, string, []byte, time.Time, or as JSON has it
	Affected int64         // rows, of a statement without columns
	Errors   []Error       // of class 11 and above an error of the statement, below a message
}

// Column is a column of a result. Type is as in T-SQL: bigint, nvarchar(50), varbinary(max), datetime2(3). All are nullable.
type Column struct{ Name, Type string }

// Columns makes columns of their declarations, such as "id bigint".
func Columns(decls ...string) []Column {
	columns := make([]Column, 0, len(decls))
	for _, d := range decls {
		name, typ, _ := strings.Cut(d, " ")
		columns = append(columns, Column{name, typ})
	}
	return columns
}

// Rows replies with one result set.
func Rows(columns []Column, rows ...[]any) Reply {
	return Reply{Results: []Result{{Columns: columns, Rows: rows}}}
}

// Affected replies that a statement changed n rows.
func Affected(n int64) Reply { return Reply{Results: []Result{{Affected: n}}} }

// Fail replies with errors of one statement. One that is not an Error is the script's own fault: it is sent as error
// 50000, and Server.Err remembers it.
func Fail(errs ...error) Reply {
	res := Result{}
	for _, err := range errs {
		var e Error
		if !errors.As(err, &e) {
			e = Error{Number: 50000, Class: 16, Message: fmt.Sprint("script of the test: ", err)}
			if !errors.Is(err, ErrCanceled) {
				e.cause = err
			}
		}
		res.Errors = append(res.Errors, e)
	}
	return Reply{Results: []Result{res}}
}

// Then adds the results of another reply behind those of r.
func (r Reply) Then(more Reply) Reply {
	r.Results = append(r.Results[:len(r.Results):len(r.Results)], more.Results...)
	r.poison = r.poison || more.poison
	return r
}

// After delays the first result, or the end where there is none.
func (r Reply) After(d time.Duration) Reply {
	r.Results = append([]Result{}, r.Results...)
	if len(r.Results) == 0 {
		r.Results = []Result{{}}
	}
	r.Results[0].Delay = d
	return r
}

// Poison replies with an error and more result sets behind it. Query of go-mssqldb 1.11.2 returns at the error and
// leaves the rest in the connection, so that the next call on it blocks for ever, whatever its context (its issue 407).
// The driver falls for it only where statements end with DONE, as in a batch without parameters; a server ends those of
// an RPC with DONEINPROC, so Poison writes DONE to an RPC too, which a server would not.
func Poison(err Error) Reply {
	r := Reply{Results: []Result{{Errors: []Error{err}}}, poison: true}
	for range 8 { // the driver's channel holds five tokens
		r = r.Then(Rows(Columns("n int"), []any{1}))
	}
	return r
}

// Error is an error or message of the server. Class 11 and above is an error, 20 and above ends the connection.
type Error struct {
	Number       int32
	State, Class byte
	Message      string
	Line         int32

	cause error // of an error that the script did not mean to send
}

func (e Error) Error() string { return fmt.Sprintf("error %d: %s", e.Number, e.Message) }

// known has class and text of the errors that hostd tells apart; texts name no object, so that no test relies on one.
var known = map[int32]Error{
	208:   {Class: 16, Message: "Invalid object name."},
	245:   {Class: 16, Message: "Conversion failed when converting the value to data type int."},
	515:   {Class: 16, Message: "Cannot insert the value NULL into the column; column does not allow nulls."},
	547:   {Class: 16, Message: "The statement conflicted with a constraint."},
	1205:  {Class: 13, State: 51, Message: "Transaction was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."},
	1222:  {Class: 16, State: 45, Message: "Lock request time out period exceeded."},
	2601:  {Class: 14, Message: "Cannot insert duplicate key row in object with unique index."},
	2627:  {Class: 14, Message: "Violation of PRIMARY KEY constraint. Cannot insert duplicate key in object."},
	2628:  {Class: 16, Message: "String or binary data would be truncated."},
	3902:  {Class: 16, Message: "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION."},
	3903:  {Class: 16, Message: "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION."},
	3960:  {Class: 16, Message: "Snapshot isolation transaction aborted due to update conflict."},
	3989:  {Class: 16, Message: "New request is not allowed to start because it should come with valid transaction descriptor."},
	4060:  {Class: 11, Message: "Cannot open the database requested by the login. The login failed."},
	18456: {Class: 14, Message: "Login failed for user."},
	40501: {Class: 20, Message: "The service is currently busy."},
	40613: {Class: 17, Message: "Database is not currently available."},
}

// SQLError is the error of this number with the class of SQL Server; a number that is not known here gets class 16.
func SQLError(number int32) Error {
	e := known[number]
	if e.Class == 0 {
		e = Error{Class: 16, Message: "An error of the test."}
	}
	e.Number, e.State = number, max(e.State, 1)
	return e
}

// ParseRows reads a parameter of JSON, such as OPENJSON takes: an array of flat objects. A number stays a json.Number.
func ParseRows(param any) ([]Row, error) {
	s, ok := param.(string)
	if !ok {
		return nil, fmt.Errorf("read rows: the parameter is a %T, not text", param)
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var rows []Row
	if err := dec.Decode(&rows); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return rows, nil
}
