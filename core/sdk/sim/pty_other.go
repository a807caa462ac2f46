//go:build !linux

package sim

import "os"

// PTY is a serial line without a cable, on Linux.
type PTY struct{ *os.File }

// OpenPTY is ErrNoPTY: this system has no such lines.
func OpenPTY() (*PTY, error) { return nil, ErrNoPTY }

// Path is the file that the driver opens.
func (p *PTY) Path() string { return "" }
