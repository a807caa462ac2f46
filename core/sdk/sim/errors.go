package sim

import "errors"

// ErrUnexpected is in the chain where a driver said something else than what was expected.
var ErrUnexpected = errors.New("the driver said something else")

// ErrNoPTY is OpenPTY on systems other than Linux.
var ErrNoPTY = errors.New("this system has no pseudo terminals for a simulated serial line: give the driver a socket, " +
	"or join two serial ports with a null-modem cable or a program such as com0com, and let the instrument speak on one of them")
