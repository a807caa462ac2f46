//go:build !linux

package sdktest

import "testing"

// looks is whether this system shows what a process has.
const looks = false

// child is a process that a plugin has started.
type child struct{ name string }

func children(testing.TB, int) []child { return nil }

func lives(child) bool { return false }

func openFiles(testing.TB, int) int { return 0 }

func quit(testing.TB, int) {}
