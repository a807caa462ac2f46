// Package host builds the flow out of its stages and runs it.
//
//	device plugins -> supervise -> schedule -> route -> spool (fsync) -> dispatch -> sink plugins -> store, cache
//
// New takes a configuration that was checked, Open does what may fail, Run blocks until the host's end: callers of a
// stage stop before the stage does, so devices first, then sinks, then what is below them.
package host
