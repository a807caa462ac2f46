// Package supervise runs one plugin process per device or sink: it starts it with a deadline, watches that it answers,
// restarts it with a growing pause, and kills it by its own handle when it hangs.
//
//	device -> [ supervise ] -> schedule -> route -> spool -> dispatch -> [ supervise ] -> sink
package supervise
