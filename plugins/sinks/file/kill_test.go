package main

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// Environment of the process that is killed.
const (
	killDir = "HOSTD_TEST_FILE_DIR"
	killRun = "HOSTD_TEST_FILE_RUN"
)

// runUntilKilled runs TestKilledInTheMiddle as a process of its own, kills it after some batches, and says which
// batch was answered last.
func runUntilKilled(t *testing.T, dir string, run int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledInTheMiddle$")
	cmd.Env = append(os.Environ(), killDir+"="+dir, killRun+"="+strconv.Itoa(run))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	in := bufio.NewScanner(out)
	for in.Scan() {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			t.Fatalf("the other process says %q", in.Text())
		}
		last = n
		if n == 20 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || last < 20 {
		t.Fatalf("ended by itself after batch %d: %v", last, err)
	}
	return last
}
