//go:build !unix

package main

// stopped cannot be played here: the process holds its batch instead.
func stopped() {}
