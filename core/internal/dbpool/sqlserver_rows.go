package dbpool

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	mssql "github.com/microsoft/go-mssqldb"
)

// sqlserverExact is a collation that tells all letters apart, as every database has it.
const sqlserverExact = "Latin1_General_100_BIN2"

// sqlserverKind takes the type of a column apart: its name, the whole type, and the collation of a text.
func sqlserverKind(c *column) (base, whole, collation string) {
	whole, collation, _ = strings.Cut(c.kind, " COLLATE ")
	base, _, _ = strings.Cut(whole, "(")
	return base, whole, collation
}

// sqlserverForms are the types whose values are not sent as text for the server to read.
var sqlserverForms = map[string]form{
	"nvarchar": letters, "nchar": letters, "ntext": letters, "varchar": letters, "char": letters, "text": letters, "xml": letters,
	"tinyint": whole, "smallint": whole, "int": whole, "bigint": whole, "float": float, "real": float, "bit": truth,
	"varbinary": octets, "binary": octets, "image": octets,
}

// sqlserverStrange are the types that rows are not written to.
var sqlserverStrange = setOf("sql_variant", "hierarchyid", "geometry", "geography", "timestamp", "rowversion", "vector")

func sqlserverForm(c *column) form {
	base, _, _ := sqlserverKind(c)
	if f, ok := sqlserverForms[base]; ok {
		return f
	}
	return asText
}

// insert sends all rows in one JSON text, or as parameters where the database cannot read JSON. An upsert is an UPDATE of
// the rows that are there and an INSERT of the others, which holds the place of a key that is missing until the
// transaction ends: MERGE without such a hint would not, and with it deadlocks more.
func (s *sqlserver) insert(sh *shape, args []any, n int) (string, []any, int) {
	narrow := 0
	if sh.lossy(args[:n*len(sh.columns)]) {
		narrow = lossyKey
	}
	if s.old.Load() {
		size := 512
		for size > 1 && (size > n || size*len(sh.columns) > sqlserverVariables) {
			size /= 2
		}
		text := sh.text(size+narrow, func() string { return sh.sqlserverText(sh.sqlserverValues(size), byParameters, narrow > 0) })
		return text, sh.sqlserverParameters(args[:size*len(sh.columns)]), size
	}
	text := sh.text(narrow, func() string { return sh.sqlserverText(sh.sqlserverJSON(), byJSON, narrow > 0) })
	return text, sh.sqlserverDocument(args[:n*len(sh.columns)]), n
}

// lossyKey is added to the number of rows in the key of a statement that looks for letters that would be lost.
const lossyKey = 1 << 20

// lossy says whether a column that may not have all letters, for it is not Unicode, gets others than those of ASCII.
func (sh *shape) lossy(args []any) bool {
	for i, c := range sh.columns {
		if !codePage(c) {
			continue
		}
		for at := i; at < len(args); at += len(sh.columns) {
			if s, ok := args[at].(string); ok && !ascii(s) {
				return true
			}
		}
	}
	return false
}

// codePage says whether a column keeps texts in a code page.
func codePage(c *column) bool {
	base, _, collation := sqlserverKind(c)
	return (base == "varchar" || base == "char" || base == "text") && collation != "" && !strings.HasSuffix(collation, "_UTF8")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// source is how the rows reach a statement. It decides where bytes are: see sqlserverDocument.
type source int

const (
	byJSON source = iota
	byParameters
)

// sqlserverJSON is the rows of the document @p1: their number n, and c0 and so on.
func (sh *shape) sqlserverJSON() string {
	var b strings.Builder
	b.WriteString("OPENJSON(@p1) WITH (n int")
	for i, c := range sh.columns {
		if sqlserverForm(c) == octets {
			fmt.Fprintf(&b, ", o%d bigint, l%d bigint", i, i)
		} else {
			fmt.Fprintf(&b, ", c%d %s", i, sqlserverSent(c))
		}
	}
	return b.String() + ")"
}

// sqlserverSent is the type in which values of a column arrive. Texts have no length: the database would cut what is
// longer, while it refuses to put it into the column.
func sqlserverSent(c *column) string {
	_, whole, _ := sqlserverKind(c)
	switch sqlserverForm(c) {
	case letters:
		return "nvarchar(max)"
	case octets:
		return "varbinary(max)"
	default:
		return whole
	}
}

// sqlserverValues is n rows of parameters.
func (sh *shape) sqlserverValues(n int) string {
	var b strings.Builder
	b.WriteString("(VALUES ")
	for r := range n {
		fmt.Fprintf(&b, "%s(%d", comma(r), r)
		for i, c := range sh.columns {
			fmt.Fprintf(&b, ",CONVERT(%s,@p%d)", sqlserverSent(c), r*len(sh.columns)+i+1)
		}
		b.WriteByte(')')
	}
	b.WriteString(") AS v (n")
	for i := range sh.columns {
		fmt.Fprintf(&b, ",c%d", i)
	}
	return b.String() + ")"
}

// sqlserverText is the statement for the rows of from. Of rows with one key, as the database compares them, the last one
// counts.
func (sh *shape) sqlserverText(from string, by source, narrow bool) string {
	values := make([]string, len(sh.columns))
	for i, c := range sh.columns {
		values[i] = fmt.Sprint("j.c", i)
		if sqlserverForm(c) == octets && by == byJSON {
			values[i] = fmt.Sprintf("SUBSTRING(@p2, j.o%d, j.l%d)", i, i)
		}
	}
	var b strings.Builder
	if narrow {
		b.WriteString(sh.sqlserverNarrow(from))
	}
	into := "INSERT INTO " + sh.quoted + " (" + sh.names() + ") SELECT " + strings.Join(values, ",")
	if len(sh.key) == 0 {
		return b.String() + into + " FROM (SELECT * FROM " + from + ") AS j ORDER BY j.n"
	}
	var partition, same []string
	for k, c := range sh.key {
		partition = append(partition, sqlserverKey(c, "", sh.keyAt[k]))
		same = append(same, "t."+quote(c.name)+"="+sqlserverKey(c, "j.", sh.keyAt[k]))
	}
	where := strings.Join(same, " AND ")
	rows := "(SELECT *, ROW_NUMBER() OVER (PARTITION BY " + strings.Join(partition, ",") + " ORDER BY n DESC) AS turn FROM " + from + ") AS j"
	target := sh.quoted + " AS t WITH (UPDLOCK, HOLDLOCK)"
	if sets := sh.sqlserverSets(values); sets != "" {
		b.WriteString("UPDATE t SET " + sets + " FROM " + target + " INNER JOIN " + rows + " ON j.turn=1 AND " + where + "; ")
	}
	b.WriteString(into + " FROM " + rows + " WHERE j.turn=1 AND NOT EXISTS (SELECT 1 FROM " + target + " WHERE " + where + ") ORDER BY j.n")
	return b.String()
}

// sqlserverSets sets what is not of the key.
func (sh *shape) sqlserverSets(values []string) string {
	var sets []string
	for i, c := range sh.columns {
		if !contains(sh.key, c) {
			sets = append(sets, quote(c.name)+"="+values[i])
		}
	}
	return strings.Join(sets, ",")
}

// sqlserverKey is the value of a key as its index can find it: a text in the column's own kind and collation. Its length is
// the longest that there is, so that none is cut to one that is there.
func sqlserverKey(c *column, of string, i int) string {
	name := fmt.Sprint(of, "c", i)
	switch base, _, collation := sqlserverKind(c); {
	case collation == "":
		return name
	case base == "varchar" || base == "char":
		return "CONVERT(varchar(8000)," + name + " COLLATE " + collation + ")"
	case base == "nvarchar" || base == "nchar":
		return "CONVERT(nvarchar(4000)," + name + " COLLATE " + collation + ")"
	default:
		return name
	}
}

// sqlserverNarrow stops where a column would keep other letters than it is given: a code page that lacks one has a
// question mark for it, and no error.
func (sh *shape) sqlserverNarrow(from string) string {
	var b strings.Builder
	for i, c := range sh.columns {
		if !codePage(c) {
			continue
		}
		_, _, collation := sqlserverKind(c)
		fmt.Fprintf(&b, "IF EXISTS (SELECT 1 FROM %s WHERE CONVERT(nvarchar(max),CONVERT(varchar(max),c%d COLLATE %s)) COLLATE "+sqlserverExact+" <> c%d COLLATE "+sqlserverExact+
			") BEGIN; THROW %d, N'%s', 1; END; ", from, i, collation, i, numberLetters, strings.ReplaceAll(strings.ReplaceAll(c.name, "'", "''"), "%", "%%"))
	}
	return b.String()
}

// shortBlob is the least length of the bytes that are sent: longer than any type with a length, so that every statement
// declares the same one and the server keeps one plan for it.
const shortBlob = 8001

// sqlserverDocument writes the rows as JSON. Bytes follow in a parameter of their own, all in one, and the document says
// where: as oN the place of the first, from 1, and as lN how many.
func (sh *shape) sqlserverDocument(args []any) []any {
	var blob []byte
	buf := []byte{'['}
	width, hasBytes := len(sh.columns), false
	for _, c := range sh.columns {
		hasBytes = hasBytes || sqlserverForm(c) == octets
	}
	for at := 0; at < len(args); at += width {
		buf = append(append(buf, comma(at)...), `{"n":`...)
		buf = strconv.AppendInt(buf, int64(at/width), 10)
		for i := range width {
			buf, blob = appendField(buf, blob, i, args[at+i])
		}
		buf = append(buf, '}')
	}
	out := []any{mssql.NVarCharMax(append(buf, ']'))}
	if hasBytes {
		if len(blob) < shortBlob {
			blob = append(blob, make([]byte, shortBlob-len(blob))...)
		}
		out = append(out, blob)
	}
	return out
}

// appendField adds the value of column i; NULL is a field that is not there.
func appendField(buf, blob []byte, i int, v any) (doc, bytes []byte) {
	switch v := v.(type) {
	case nil:
	case []byte:
		buf = fmt.Appendf(buf, `,"o%d":%d,"l%d":%d`, i, len(blob)+1, i, len(v))
		blob = append(blob, v...)
	default:
		buf = strconv.AppendInt(append(buf, `,"c`...), int64(i), 10)
		buf = appendJSON(append(buf, `":`...), v)
	}
	return buf, blob
}

// appendJSON adds a value as JSON; a text is UTF-8.
func appendJSON(buf []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(buf, v)
	case int64:
		return strconv.AppendInt(buf, v, 10)
	case float64:
		return strconv.AppendFloat(buf, v, 'g', -1, 64)
	case string:
		return appendJSONText(buf, v)
	default:
		return append(buf, "null"...)
	}
}

func appendJSONText(buf []byte, s string) []byte {
	buf = append(buf, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			buf = append(buf, '\\', c)
		case c < ' ':
			buf = fmt.Appendf(buf, `\u%04x`, c)
		default:
			buf = append(buf, c)
		}
	}
	return append(buf, '"')
}

// sqlserverParameters gives the values the types that the driver keeps alike from call to call.
func (sh *shape) sqlserverParameters(args []any) []any {
	out := make([]any, len(args))
	for at, v := range args {
		out[at] = v
		if s, ok := v.(string); ok && sqlserverForm(sh.columns[at%len(sh.columns)]) == letters {
			out[at] = mssql.NVarCharMax(s)
		}
	}
	return out
}

// sqlserverArgument gives a value of a sink's own statement the type that fits every column. A text of ASCII is a varchar:
// as nvarchar it would keep the server from using the index of a varchar column. A time is one again: the server does not
// read nine digits of a second.
func sqlserverArgument(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	if len(s) == len(timeForm) {
		if at, err := time.Parse(timeForm, s); err == nil {
			return at
		}
	}
	if ascii(s) {
		return mssql.VarChar(s)
	}
	return s
}

// sqlserverShown gives exact numbers and unique identifiers as text: the driver has the digits of the one and the bytes of
// the other, which it does not tell from those of a varbinary.
func sqlserverShown(kind string, v any) any {
	b, ok := v.([]byte)
	if !ok {
		return v
	}
	switch kind {
	case "DECIMAL", "NUMERIC", "MONEY", "SMALLMONEY":
		return string(b)
	case "UNIQUEIDENTIFIER":
		var id mssql.UniqueIdentifier
		if id.Scan(b) == nil {
			return id.String()
		}
	}
	return v
}

var sqlserverUUID = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func sqlserverFit(c *column, v any) (any, error) {
	base, _, _ := sqlserverKind(c)
	if sqlserverStrange[base] {
		return nil, fmt.Errorf("a value for a column of type %s, which rows cannot be written to; use a statement", base)
	}
	f := sqlserverForm(c)
	if n, ok := v.(float64); ok {
		if math.IsInf(n, 0) {
			return nil, errors.New("an infinite number, which SQL Server does not store")
		}
		if f == asText {
			v = strconv.FormatFloat(n, 'f', -1, 64)
		}
	}
	v, err := f.of(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case []byte:
		if c.most > 0 && len(v) > c.most {
			return nil, fmt.Errorf("more bytes than the column takes (%d)", c.most)
		}
	case string:
		return sqlserverText(c, base, v)
	}
	return v, nil
}

func sqlserverText(c *column, base, s string) (any, error) {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return nil, errors.New("a text with a zero byte, which hostd does not store in SQL Server")
	case base == "uniqueidentifier" && !sqlserverUUID.MatchString(s):
		return nil, errors.New("a text that is no unique identifier") // the server would cut a longer one
	case sqlserverTimes[base] != "":
		return sqlserverTime(base, s), nil
	case c.most > 0 && len(s) > c.most && sqlserverLength(c, s) > c.most:
		s = strings.TrimRight(s, " ")
		if sqlserverLength(c, s) > c.most {
			return nil, fmt.Errorf("a text that is longer than the column takes (%d)", c.most)
		}
	}
	return s, nil
}

// sqlserverLength is the length of a text as its column counts: in UTF-16, or in bytes. In a code page a letter takes a
// byte or two; there the server has the last word.
func sqlserverLength(c *column, s string) int {
	base, _, _ := sqlserverKind(c)
	switch {
	case codePage(c):
		return utf8.RuneCountInString(s)
	case base == "varchar" || base == "char":
		return len(s)
	default:
		n := 0
		for _, r := range s {
			n += utf16.RuneLen(r)
		}
		return n
	}
}

// sqlserverTimes are the types of date and time, each with the form that the server reads in every language of a login.
var sqlserverTimes = map[string]string{
	"date":           "2006-01-02",
	"time":           "15:04:05.0000000",
	"smalldatetime":  "2006-01-02T15:04:05",
	"datetime":       "2006-01-02T15:04:05.000",
	"datetime2":      "2006-01-02T15:04:05.0000000",
	"datetimeoffset": "2006-01-02T15:04:05.0000000-07:00",
}

// sqlserverTime writes a time for the type. A type without a zone gets it in UTC. What is no time is left to the server.
func sqlserverTime(base, s string) string {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		at, err := time.Parse(form, s)
		if err != nil {
			continue
		}
		if base != "datetimeoffset" {
			at = at.UTC()
		}
		return at.Format(sqlserverTimes[base])
	}
	return s
}
