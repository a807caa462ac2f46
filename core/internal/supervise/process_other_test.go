//go:build !linux

package supervise

// smallHost is for Linux.
func smallHost(mode string) { panic(mode) }
