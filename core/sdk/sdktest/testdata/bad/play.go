package main

import (
	"bufio"
	"fmt"
	"os"
)

// play is the instrument of a tape, or a program that is none.
func play(name string) {
	answer := "no"
	switch name {
	case "plays-nothing":
		fmt.Fprintln(os.Stderr, "nothing to play")
		return
	case "plays-noise":
		fmt.Println("la la la")
		return
	case "plays-wrong":
		answer = "perhaps"
	}
	fmt.Println(`{"settings":{"count":40,"batch":8},"records":40}`)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(answer)
	}
}
