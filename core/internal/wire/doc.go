// Package wire carries the contract of core/sdk over gRPC, both ends of it.
//
//	device plugin ==[ wire ]==> host: supervise, schedule, route, spool, dispatch ==[ wire ]==> sink plugin
//
// It is the only package that knows protobuf and go-plugin's glue. A batch of records has a codec written by hand: the
// host never builds a Record, it cuts the message into the records' bytes (Scan reads the few fields that it needs)
// and hands the same bytes on with its stamps appended, which protobuf allows, since of two values the last one counts.
package wire
