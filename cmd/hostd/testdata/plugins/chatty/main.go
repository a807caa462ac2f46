// Chatty prints before it serves, which no plugin may.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("hello from chatty")
	for {
		time.Sleep(time.Hour)
	}
}
