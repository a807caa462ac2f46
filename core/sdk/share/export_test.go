package share

// Words is what Explain says of a number, on any system.
func Words(number uintptr) (wrong, do string) { return words(number) }
