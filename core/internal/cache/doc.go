// Package cache is part of stage 6 of the flow: the one cache of the host, for answers of the database and for what
// sinks keep.
//
//	device => supervise => schedule => route => spool => dispatch => sink => [ cache ] => dbpool
//
// It is bounded in entries and in bytes, an entry is never served after its time, and what is missing is loaded once
// however many ask. ttlcache below it holds the entries and their order; the loading, the byte budget and the guard
// against storing what was dropped meanwhile are here.
package cache
