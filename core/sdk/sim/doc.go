// Package sim scripts instruments: what they say and expect on a line, and how they misbehave.
//
//	[ Script: say, expect, wait, noise, cut ] -> socket, pty, folder -> device plugin ==gRPC==> host
//
// A test plays a Script to a driver; a plugin's simulate mode (serve.Simulate) plays it to a running host; Conformance
// plays it to the suite. People in it are invented.
package sim
