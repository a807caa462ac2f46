//go:build !windows

package share

// Connect is ErrNotWindows.
func Connect(_, _, _ string) error { return ErrNotWindows }
