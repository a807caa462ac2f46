// Quitter exits at once.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "quitter: licence not found")
	os.Exit(7)
}
