// Package line is the cable between a driver and its instrument: a serial port, or TCP to a serial server.
//
//	instrument -> RS-232 -> [ Port: Next, Write, Discard ] -> the driver's protocol
//
// A driver embeds Settings in its own, so that every parameter of the line is configuration: the same model is found with
// different ones. It opens its Port in Open and reads it in Read; the Port closes itself at Close. A line that is gone is
// an error of Next; returned from Read it makes the host reopen the device, again and again with a growing pause, until
// the adapter is plugged in or the serial server is back.
package line
