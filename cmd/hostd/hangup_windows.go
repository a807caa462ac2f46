package main

import "os"

// hangups gets nothing: Windows has no such signal.
func hangups() <-chan os.Signal { return nil }
