package dbpool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	mssql "github.com/microsoft/go-mssqldb"
)

// Numbers of errors that statements of ours raise.
const (
	numberLetters = 50421 // its text is the name of the column
	numberLocked  = 50422
)

// sqlserverFatal is the severity from which an error ends the connection.
const sqlserverFatal = 20

// sqlserverFault goes by the numbers (SQL Server documentation, Database Engine events and errors). The server's own words
// may be in any language and may quote values; only names that stand in the statement are taken from them.
func sqlserverFault(err error, known string) fault {
	var e mssql.Error
	if !errors.As(err, &e) {
		if untrusted(err) {
			return fault{class: sdk.ClassUnavailable, lost: true, text: "the certificate of the server is not trusted; give its file as certificate in the dsn, or say trustservercertificate=true"}
		}
		return fault{lost: true}
	}
	if e.Number == 0 { // the driver's own: the transaction is gone
		return fault{class: sdk.ClassUnavailable, text: "the server has undone the transaction", undone: true}
	}
	e, f, ok := sqlserverCause(e)
	switch {
	case ok:
	case e.Number >= 50_000:
		f = fault{class: sdk.ClassPermanent, text: "a trigger or a function of the database refused it"}
	case e.Class >= sqlserverFatal:
		f = fault{class: sdk.ClassUnavailable, text: "the server has an error and ended the connection"}
	default:
		f.text = "the database answered with an error"
	}
	f.text += fmt.Sprintf("%s (error %d)", sqlserverNames(e, known), e.Number)
	f.lost = f.lost || e.Class >= sqlserverFatal
	f.undone = e.Class < sqlserverFatal && !f.lost
	return f
}

// untrusted says whether the certificate was refused. The driver gives that error by its text alone (1.11.2, connect).
func untrusted(err error) bool {
	var refused *tls.CertificateVerificationError
	return errors.As(err, &refused) || strings.Contains(err.Error(), "tls: failed to verify certificate")
}

// sqlserverCause finds the error that says most: the last one may only say that another came before it, as a failed login
// does of a database that is not there.
func sqlserverCause(e mssql.Error) (mssql.Error, fault, bool) {
	f, ok := sqlserverNumbers[e.Number]
	if ok && e.Number != 18456 {
		return e, f, true
	}
	for _, one := range slices.Backward(e.All) {
		if g, there := sqlserverNumbers[one.Number]; there && one.Number != 18456 {
			return one, g, true
		}
	}
	return e, f, ok
}

// sqlserverNumbers are the errors that are treated apart.
var sqlserverNumbers = map[int32]fault{
	102:  {class: sdk.ClassPermanent, text: "syntax error near"},
	105:  {class: sdk.ClassPermanent, text: "syntax error"},
	137:  {class: sdk.ClassPermanent, text: "syntax error"},
	156:  {class: sdk.ClassPermanent, text: "syntax error near"},
	170:  {class: sdk.ClassPermanent, text: "syntax error"},
	195:  {class: sdk.ClassPermanent, text: "there is no such function"},
	207:  {class: sdk.ClassPermanent, text: "there is no such column"},
	208:  {class: sdk.ClassPermanent, text: "there is no such table"},
	209:  {class: sdk.ClassPermanent, text: "a column is in more than one table"},
	4104: {class: sdk.ClassPermanent, text: "there is no such column"},
	4121: {class: sdk.ClassPermanent, text: "there is no such function"},

	206:   {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	220:   {class: sdk.ClassPermanent, text: "a number is larger than its column takes"},
	232:   {class: sdk.ClassPermanent, text: "a number is larger than its column takes"},
	235:   {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	241:   {class: sdk.ClassPermanent, text: "a text is no date or time"},
	242:   {class: sdk.ClassPermanent, text: "a date or time is outside of what its column takes"},
	245:   {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	248:   {class: sdk.ClassPermanent, text: "a number is larger than its column takes"},
	257:   {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	271:   {class: sdk.ClassPermanent, text: "a column is computed and cannot be written"},
	273:   {class: sdk.ClassPermanent, text: "a column of type timestamp cannot be written"},
	295:   {class: sdk.ClassPermanent, text: "a text is no date or time"},
	515:   {class: sdk.ClassPermanent, text: "a column that must have a value has none"},
	544:   {class: sdk.ClassPermanent, text: "the server numbers the rows of the table itself"},
	547:   {class: sdk.ClassPermanent, text: "a rule of the table is violated: a row that it refers to is missing (foreign key), or a check failed"},
	550:   {class: sdk.ClassPermanent, text: "the view does not take such a row"},
	1750:  {class: sdk.ClassPermanent, text: "the constraint or index cannot be made"},
	1946:  {class: sdk.ClassPermanent, text: "a key is longer than the server takes"},
	2601:  {class: sdk.ClassPermanent, text: "duplicate key", is: ErrDuplicate},
	2627:  {class: sdk.ClassPermanent, text: "duplicate key", is: ErrDuplicate},
	2628:  {class: sdk.ClassPermanent, text: "a text is longer than its column takes"},
	2714:  {class: sdk.ClassPermanent, text: "there is already an object of that name"},
	3609:  {class: sdk.ClassPermanent, text: "a trigger of the database refused it"},
	8102:  {class: sdk.ClassPermanent, text: "the server numbers the rows of the table itself"},
	8114:  {class: sdk.ClassPermanent, text: "a value does not fit its column or its use"},
	8115:  {class: sdk.ClassPermanent, text: "a number is larger than its column takes"},
	8134:  {class: sdk.ClassPermanent, text: "a division by zero"},
	8152:  {class: sdk.ClassPermanent, text: "a text is longer than its column takes"},
	8169:  {class: sdk.ClassPermanent, text: "a text is no unique identifier"},
	13609: {class: sdk.ClassPermanent, text: "a text is no JSON"},

	numberLetters: {class: sdk.ClassPermanent, text: "a text has letters that its column cannot keep, for it is not Unicode"},
	numberLocked:  {class: sdk.ClassBusy, text: "another host brings the tables up to date"},

	1204: {class: sdk.ClassBusy, text: "the server is out of locks"},
	1205: {class: sdk.ClassBusy, text: "it was undone to end a conflict with another transaction (deadlock)", again: true},
	1222: {class: sdk.ClassBusy, text: "a lock was not given up in time", again: true},
	3960: {class: sdk.ClassBusy, text: "it was undone to end a conflict with another transaction (snapshot)", again: true},
	3961: {class: sdk.ClassBusy, text: "a table was changed meanwhile", again: true},

	229:   {class: sdk.ClassUnavailable, text: "the database user may not do that; grant it the right"},
	230:   {class: sdk.ClassUnavailable, text: "the database user may not do that; grant it the right"},
	262:   {class: sdk.ClassUnavailable, text: "the database user may not do that; grant it the right"},
	2760:  {class: sdk.ClassUnavailable, text: "the schema of the database user is not there, or it may not make tables in it"},
	300:   {class: sdk.ClassUnavailable, text: "the database user may not do that; grant it the right"},
	596:   {class: sdk.ClassUnavailable, text: "an administrator ended the connection", lost: true},
	701:   {class: sdk.ClassUnavailable, text: "the server is out of memory"},
	802:   {class: sdk.ClassUnavailable, text: "the server is out of memory"},
	8645:  {class: sdk.ClassUnavailable, text: "the server is out of memory"},
	823:   {class: sdk.ClassUnavailable, text: "the disk of the server fails; check it", is: ErrDamaged},
	824:   {class: sdk.ClassUnavailable, text: "data on the server is damaged; keep a copy, run DBCC CHECKDB, and put back a backup", is: ErrDamaged},
	825:   {class: sdk.ClassUnavailable, text: "the disk of the server fails; check it", is: ErrDamaged},
	911:   {class: sdk.ClassUnavailable, text: "there is no such database on the server; check its name, or create it"},
	916:   {class: sdk.ClassUnavailable, text: "the login has no user in the database; create one"},
	1101:  {class: sdk.ClassUnavailable, text: "the database is full; free space or let it grow, nothing is lost meanwhile", is: ErrFull},
	1105:  {class: sdk.ClassUnavailable, text: "the database is full; free space or let it grow, nothing is lost meanwhile", is: ErrFull},
	9002:  {class: sdk.ClassUnavailable, text: "the log of the database is full; back it up or let it grow, nothing is lost meanwhile", is: ErrFull},
	3902:  {class: sdk.ClassUnavailable, text: "the server has undone the transaction"},
	3903:  {class: sdk.ClassUnavailable, text: "the server has undone the transaction"},
	3906:  {class: sdk.ClassUnavailable, text: "the database takes no writes; check that it is not read-only or a secondary", is: errReadOnly},
	3930:  {class: sdk.ClassUnavailable, text: "the server has given the transaction up"},
	3989:  {class: sdk.ClassUnavailable, text: "the connection is out of step", lost: true},
	4060:  {class: sdk.ClassUnavailable, text: "there is no such database on the server, or the login may not use it; check its name, or create it"},
	4064:  {class: sdk.ClassUnavailable, text: "the default database of the login cannot be opened; name one in the dsn"},
	6005:  {class: sdk.ClassUnavailable, text: "the server is stopping", lost: true},
	10928: {class: sdk.ClassUnavailable, text: "the server is busy"},
	10929: {class: sdk.ClassUnavailable, text: "the server is busy"},
	17142: {class: sdk.ClassUnavailable, text: "the server is paused"},
	18401: {class: sdk.ClassUnavailable, text: "the server is starting"},
	18452: {class: sdk.ClassUnavailable, text: "the server refused the login: it is of a domain that it does not trust"},
	18456: {class: sdk.ClassUnavailable, text: "the server refused the login; check user, password, and that the server takes SQL logins"},
	18461: {class: sdk.ClassUnavailable, text: "the server is in single user mode"},
	18470: {class: sdk.ClassUnavailable, text: "the server refused the login: it is disabled"},
	18486: {class: sdk.ClassUnavailable, text: "the server refused the login: it is locked out"},
	18487: {class: sdk.ClassUnavailable, text: "the server refused the login: its password has expired"},
	18488: {class: sdk.ClassUnavailable, text: "the server refused the login: its password must be changed"},
	40197: {class: sdk.ClassUnavailable, text: "the server is busy"},
	40501: {class: sdk.ClassUnavailable, text: "the server is busy"},
	40613: {class: sdk.ClassUnavailable, text: "the database is not available now"},
	49918: {class: sdk.ClassUnavailable, text: "the server is busy"},
}

// sqlserverSayNames are the errors whose first quoted words are names, or a word of the statement.
var sqlserverSayNames = map[int32]bool{102: true, 156: true, 195: true, 207: true, 208: true, 515: true, 2601: true, 2627: true, 2628: true, 4121: true}

var sqlserverQuoted = regexp.MustCompile(`['"]([^'"]+)['"]`)

// sqlserverNames are the names of the message that stand in the statement too, table before column.
func sqlserverNames(e mssql.Error, known string) string {
	if e.Number == numberLetters && sqlserverKnows(known, e.Message) {
		return ": " + e.Message
	}
	if !sqlserverSayNames[e.Number] {
		return ""
	}
	var names []string
	for i, m := range sqlserverQuoted.FindAllStringSubmatch(e.Message, -1) {
		name := m[1][strings.LastIndexByte(m[1], '.')+1:]
		if i < 2 && sqlserverKnows(known, name) { // a value comes third, if at all
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	if e.Number == 515 {
		slices.Reverse(names) // it names the column first
	}
	return ": " + strings.Join(names, ".")
}

// sqlserverKnows says whether the name is a word of the statement, or quoted there as a name.
func sqlserverKnows(known, name string) bool {
	if name == "" {
		return false
	}
	if strings.Contains(strings.ToLower(known), strings.ToLower(quote(name))) {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(known, func(r rune) bool { return r < 0x80 && !isWord(byte(r)) }), func(word string) bool {
		return strings.EqualFold(word, name)
	})
}
