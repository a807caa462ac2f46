package sim_test

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/hostd/hostd/core/sdk/sim"
)

// A tonometer sends one result as a frame, and once more when the driver has not understood it.
func ExamplePlay() {
	instrument, driver := net.Pipe()
	go func() { // a driver that asks for the frame again
		b := make([]byte, 64)
		for _, answer := range []string{"\x15", "\x06"} {
			n, _ := driver.Read(b)
			fmt.Printf("the driver heard %q\n", b[:n])
			driver.Write([]byte(answer))
		}
	}()
	err := sim.Play(context.Background(), instrument, sim.Options{Seed: 7}, func(l *sim.Line) {
		if !l.Deliver("\x02R 15 mmHg\x03", "\x06", "\x15", 6) {
			l.Say("\x04")
		}
	})
	fmt.Println("the script ended with", err)
	// Output:
	// the driver heard "\x02R 15 mmHg\x03"
	// the driver heard "\x02R 15 mmHg\x03"
	// the script ended with <nil>
}

// What `NAME simulate --conformance` says to the suite, and the suite to it.
func ExampleConformance() {
	exams := 0
	suite := strings.NewReader("produce 3\n") // the standard input
	var printed strings.Builder               // the standard output
	err := sim.Conformance(context.Background(), suite, &printed, sim.Instrument{
		Settings: map[string]any{"port": "/dev/pts/7"},
		Produce:  func(n int) error { exams += n; return nil },
	})
	fmt.Print(printed.String())
	fmt.Println(exams, err)
	// Output:
	// {"settings":{"port":"/dev/pts/7"},"records":0}
	// ok
	// 3 <nil>
}
