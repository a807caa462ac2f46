package dbpool

import (
	"errors"
	"regexp"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresFault goes by the number (SQLSTATE, PostgreSQL documentation, appendix A). The server's own words may be in
// any language and may quote values; only names from the schema are taken from them.
func postgresFault(err error, known string) fault {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// Not even driver.ErrBadConn says that nothing was sent: pgx gives it also where the answer to a simple query,
		// such as COMMIT, was lost (5.12, MultiResultReader.NextResult).
		return fault{lost: true}
	}
	f, ok := postgresCodes[e.Code]
	if !ok {
		f, ok = postgresCodes[e.Code[:min(2, len(e.Code))]]
	}
	if !ok {
		f.text = "the database answered with an error"
	}
	if e.Routine == "RevalidateCachedQuery" { // somebody changed the table since the statement was prepared
		f = fault{class: sdk.ClassBusy, text: "a table was changed meanwhile", again: true}
	}
	f.text += postgresNames(e, known) + " (code " + e.Code + ")"
	f.lost = strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08") || e.Code == "25P03"
	// A server that goes down may have committed before.
	f.undone = e.SeverityUnlocalized == "ERROR" && e.Code != "40003" && !strings.HasPrefix(e.Code, "57")
	return f
}

// postgresCodes are codes that are treated apart, and classes of them.
var postgresCodes = map[string]fault{
	"21":    {class: sdk.ClassPermanent, text: "two of its rows have one key", is: errTwice},
	"22":    {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	"22001": {class: sdk.ClassPermanent, text: "a text is longer than its column takes"},
	"22003": {class: sdk.ClassPermanent, text: "a number is larger than its column takes"},
	"23":    {class: sdk.ClassPermanent, text: "a rule of the table is violated"},
	"23502": {class: sdk.ClassPermanent, text: "a column that must have a value has none"},
	"23503": {class: sdk.ClassPermanent, text: "a row that it refers to is missing (foreign key)"},
	"23505": {class: sdk.ClassPermanent, text: "duplicate key", is: ErrDuplicate},
	"23514": {class: sdk.ClassPermanent, text: "a check of the table failed"},
	"42":    {class: sdk.ClassPermanent, text: "the statement is not valid here; check its names, types and functions"},
	"42601": {class: sdk.ClassPermanent, text: "syntax error"},
	"42703": {class: sdk.ClassPermanent, text: "there is no such column"},
	"42883": {class: sdk.ClassPermanent, text: "there is no such function, or none for such arguments"},
	"42P01": {class: sdk.ClassPermanent, text: "there is no such table"},
	"42P10": {class: sdk.ClassPermanent, text: "the key is not the primary key, nor a unique index, of the table"},
	"44":    {class: sdk.ClassPermanent, text: "the view does not take such a row"},
	"0A":    {class: sdk.ClassPermanent, text: "the database cannot do that"},
	"54":    {class: sdk.ClassPermanent, text: "the statement is beyond a limit of the database"},
	"P0":    {class: sdk.ClassPermanent, text: "a trigger or a function of the database refused it"},

	"40":    {class: sdk.ClassBusy, text: "it was undone to end a conflict with another transaction", again: true},
	"55P03": {class: sdk.ClassBusy, text: "a lock was not given up in time", again: true},
	"26000": {class: sdk.ClassBusy, text: "the server has forgotten a statement that was prepared", again: true},

	"08":    {class: sdk.ClassUnavailable, text: "the connection to the server failed"},
	"25":    {class: sdk.ClassPermanent, text: "it is not allowed at this place of a transaction"},
	"25P03": {class: sdk.ClassUnavailable, text: "the server ended a transaction in which nothing was done for too long"},
	"25006": {class: sdk.ClassUnavailable, text: "the server takes no writes; check that it is not a standby", is: errReadOnly},
	"28":    {class: sdk.ClassUnavailable, text: "the server refused the login; check user, password and pg_hba.conf"},
	"3D":    {class: sdk.ClassUnavailable, text: "there is no such database on the server; check its name, or create it"},
	"3F":    {class: sdk.ClassUnavailable, text: "there is no schema to make tables in; check search_path, or create it"},
	"42501": {class: sdk.ClassUnavailable, text: "the database user may not do that; grant it the right"},
	"53":    {class: sdk.ClassUnavailable, text: "the server is out of memory or another resource"},
	"53100": {class: sdk.ClassUnavailable, text: "the disk of the server is full; free space there, nothing is lost meanwhile", is: ErrFull},
	"53300": {class: sdk.ClassUnavailable, text: "the server has no connection left; raise max_connections there, or lower max_open here"},
	"57":    {class: sdk.ClassUnavailable, text: "the server is starting, stopping, or was told to end this connection"},
	"57014": {class: sdk.ClassUnavailable, text: "the statement was cancelled at its time limit"},
	"58":    {class: sdk.ClassUnavailable, text: "the disk of the server fails; check it", is: ErrDamaged},
	"XX001": {class: sdk.ClassUnavailable, text: "data on the server is damaged; keep a copy, and put back a backup", is: ErrDamaged},
	"XX002": {class: sdk.ClassUnavailable, text: "an index on the server is damaged; REINDEX may mend it", is: ErrDamaged},
}

var postgresQuoted = regexp.MustCompile(`["»]([^"«]+)["«]`)

// postgresNames are the names of table and column that the error is about, or the word of the statement.
func postgresNames(e *pgconn.PgError, known string) string {
	switch {
	case e.TableName != "" && e.ColumnName != "":
		return ": " + e.TableName + "." + e.ColumnName
	case e.TableName != "" && e.ConstraintName != "":
		return ": " + e.TableName + ", " + e.ConstraintName
	case !strings.HasPrefix(e.Code, "42"):
		return ""
	}
	if m := postgresQuoted.FindStringSubmatch(e.Message); m != nil && hasWord(known, m[1]) {
		return ": " + m[1]
	}
	return ""
}
