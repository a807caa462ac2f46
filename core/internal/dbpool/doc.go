// Package dbpool is part of stage 6 of the flow: the one guard over database/sql, and the only owner of a handle to it.
//
//	device => supervise => schedule => route => spool => dispatch => sink => cache => [ dbpool: bounded, attributed ]
//
// Nobody outside gets a connection, a cursor or a transaction, so nobody can lose one: a call is one request, read
// whole, and one answer, read whole. Each runs under a lease that names its holder, its statement and its age; callers
// that wait are served in turn between holders; a lease beyond its time is cancelled, then abandoned and its
// connections exchanged. In the embedded database independent writes share one commit; on a server each has its own, on
// as many connections as there are. What databases do differently is in dialect.go, and how each does it in the file of
// its name; the tables that the host owns are described in docs/schema.md.
package dbpool
