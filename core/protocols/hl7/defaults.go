package hl7

// DefaultRules are the built-in ones.
func DefaultRules() Rules { return Rules{} }
