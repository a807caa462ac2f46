//go:build unix

package serve_test

import (
	"bufio"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestSimulateEndsWithASignal holds that a signal ends the instrument's context, and the process then ends well.
func TestSimulateEndsWithASignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := plugin(t, "device", "simulate -do wait")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "waits\n" {
			t.Fatalf("%q, %v", line, err)
		}
		for range 2 { // as from a terminal, and from hostd
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
	}
}
