// Package spool is stage 4 of the flow: it puts records on the disk before anybody is told that they are safe.
//
//	plugin => supervise => schedule => route => [ spool: fsync ] => dispatch => plugin
//
// One log of segments holds the records of all devices, the devices' positions and the sinks' cursors. One goroutine
// (Run) gathers what arrives into groups and writes each with one fsync. A Reader per sink leases records in order, and
// Settle moves the sink's cursor. What is unreadable is set aside in quarantine/ and never in the way. The format, its
// invariants and what each crash leaves are in DESIGN.md. The package knows nothing of RPC: a record is opaque bytes.
package spool
