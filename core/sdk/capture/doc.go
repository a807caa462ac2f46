// Package capture keeps the bytes that pass over a device's line, and reads them again: to see what an instrument really
// says, and to play it to a driver once more.
//
//	instrument -> line -> [ capture: StateDir/capture/*.capture ] -> device -> host
//
// DESIGN.md has the format, and what each crash leaves. A capture holds what the line carried, patients' data too: the
// files are for the service's account alone, and Mask takes the letters and digits out of what leaves the machine.
package capture
