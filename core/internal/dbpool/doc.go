// Package dbpool is part of stage 6 of the flow: the one guard over database/sql, and the only owner of a handle to it.
//
//	device => supervise => schedule => route => spool => dispatch => sink => cache => [ dbpool: bounded, attributed ]
//
// Nobody outside gets a connection, a cursor or a transaction, so nobody can lose one: a call is one request, read
// whole, and one answer, read whole. Each runs under a lease that names its holder, its statement and its age; callers
// that wait are served in turn between holders; a lease beyond its time is cancelled, then abandoned and its
// connections exchanged. Independent writes share one commit. What is particular to SQLite is in sqlite.go; the tables
// that the host owns are in schema.go and described in docs/schema.md.
package dbpool
