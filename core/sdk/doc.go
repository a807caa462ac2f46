// Package sdk is the contract between hostd and its plugins.
//
//	instrument -> [ device plugin ] -> host: route, spool (fsync), dispatch -> [ sink plugin ] -> store, cache
//
// An author of a device writes the four methods of Device, an author of a sink the three of Sink; neither needs a
// lock while the manifest's window is 1. What each call promises is told in docs/contract.md, with the test that
// holds it. The package uses the standard library only.
package sdk
