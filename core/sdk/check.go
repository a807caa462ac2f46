package sdk

import "context"

// Checker is an optional ability of a Sink: to say before the start what would keep it from working. `hostd check` asks
// it, in a process of its own, without Open, Write or Close before or after it.
type Checker interface {
	// Check looks at the settings, which fit their description, and at what they need of the database. It changes
	// nothing: env is as at Open, but that its Store only reads, and that StateDir may not be there. What is wrong is a
	// Finding; an error means that it could not be found out.
	Check(ctx context.Context, env SinkEnv, tables Catalog) ([]Finding, error)
}

// MaxFindings is how many findings of a Check are told; those beyond are cut.
const MaxFindings = 1000

// Finding is one thing that a Checker has found. No text of it may hold patient data or the value of a secret.
type Finding struct {
	Severity Severity
	// Setting is the path of the setting that it is about, such as tables[1].columns.EYE; empty is all of them. The host
	// tells the file and the line.
	Setting string
	// Text is one sentence that begins in lower case, without the path.
	Text string
	// Proposal is what would mend it, for a person to read and to run or not, such as a CREATE TABLE; may be empty.
	Proposal string
}

// Severity says how bad a Finding is.
type Severity string

// Severities of a Finding.
const (
	SeverityFault Severity = "fault" // records will not be stored; the check fails
	SeverityNote  Severity = "note"  // worth a word
)

// Catalog says what the host's database is like. It is there while a Check runs.
type Catalog interface {
	// Table describes a table by its name, or by its schema's and its own with a dot between. Small and capital letters
	// are alike, unless one is written just so. That there is no such table is no error, see Table.Name.
	Table(ctx context.Context, name string) (Table, error)
}

// Table is what the database says of a table or a view.
type Table struct {
	Database string     // whose it is: sqlite, postgres or sqlserver
	Name     string     // as the database spells it; empty: there is no such table
	Near     string     // then: the table that there is with the most similar name, or empty
	Columns  []Column   // in the table's order
	Keys     [][]string // the columns of its primary key and of each unique index by which Upsert finds a row
}

// Column is what the database says of a column.
type Column struct {
	Name      string
	Type      string // as the database calls it; in sqlite it may be any text
	MaxLength int    // longest text in letters; 0 is any
	Nullable  bool
	Filled    bool // it gets a value where a row has none: by a default, or by the database itself
}
