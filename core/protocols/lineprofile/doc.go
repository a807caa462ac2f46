// Package lineprofile reads the text protocols of instruments on a serial line, each declared by a profile in YAML: how
// a frame begins and ends, what its fields are, whether it is answered.
//
//	bytes -> [ Framer -> frame -> checksum -> text -> rules ] -> exam or reject
//
// The profiles of profiles/ are shipped; docs/devices/line-serial.md tells how to write one. The package does no I/O.
package lineprofile
