// Package dbpool is part of stage 6 of the flow: the one guard over database/sql, and the only owner of a handle to it.
//
//	device => supervise => schedule => route => spool => dispatch => sink => cache => [ dbpool: bounded, attributed ]
//
// Nobody outside gets a connection, a cursor or a transaction, so nobody can lose one: a call is one request, read
// whole, and one answer, read whole. Each runs under a lease that names its holder, its statement and its age; callers
// that wait are served in turn between holders. In the embedded database independent writes share one commit; on a
// server each has its own, on as many connections as there are. What databases do differently is in dialect.go, and how
// each does it in the file of its name; the tables that the host owns are described in docs/schema.md.
//
// # A request
//
//	state      ends when                                      its caller is told
//	queued     a worker is free and it is its holder's turn   busy after AcquireTimeout; unavailable where the breaker
//	                                                          is open, at the queueing and again at the begin
//	begun      its operation ends; its context does after     the answer; unavailable where nothing can have happened,
//	           OperationTimeout                               unknown where a commit was sent and not answered
//	cancelled  2 s beyond OperationTimeout: the housekeeper   as before
//	           cancels it once more, cuts its connection's
//	           sockets under the driver, and warns
//	abandoned  1 s after the cut: the place gets another      unknown
//	           worker, the handle is exchanged for one of a
//	           new generation, and the holder is named
//
// A request goes from its caller's goroutine to a worker's and back, so that the caller is free at its time whatever the
// driver does. What that costs is saved elsewhere: a worker that waits gets its lease at once, no timer runs for what has
// begun, rows are read from the driver without the goroutine that database/sql gives to each answer, and a worker of the
// embedded database keeps its connection and the queries that it prepared. BenchmarkGuard compares.
//
// An operation before its commit that is lost with its connection has not happened, for the server undoes it: that is
// unavailable. The commit itself is unknown unless no byte of it was sent; a receipt makes it safe to write again.
//
// # A connection to a server
//
// Each is a link, made within ConnectTimeout whatever its driver does, login included: the driver gets a goroutine and
// sockets that the pool can close. One that was quiet for a second is pinged before it is used. When one turns out to be
// lost, those that nobody uses are closed, and those in use are pinged when they are used again. After an error of a read
// its connection is closed, but at the end of its time, of which the driver knows. An operation that ends without giving its connection back is a fault of the host: it is
// cut, the holder is named, and the handle is exchanged.
//
// # The breaker
//
// It opens after three failures in a row that are the server's: not reached, or a connection that broke, where a restart
// counts once for all that it took along. Answers and the end of a caller's time do not count. While it is open requests
// fail at once, and one prober tries to log in after 1, 2, 4 .. 15 s, each time until the next is due, so that the end
// of a frost shows at once. The first login that succeeds closes it. There is one line in the log for each change.
package dbpool
