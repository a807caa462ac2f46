package sdktest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// looks is whether this system shows what a process has.
const looks = true

// child is a process that a plugin has started.
type child struct {
	pid    int
	name   string
	parent int
	begun  string // which tells it from a later one of the same number
	zombie bool   // it has ended, and nobody has awaited it
}

// children are the processes whose parent is pid.
func children(t testing.TB, pid int) (list []child) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		number, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if c, ok := look(number); ok && c.parent == pid {
			list = append(list, c)
		}
	}
	return list
}

// look reads what the system says of a process; false where there is none.
func look(pid int) (c child, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return c, false
	}
	head, rest, found := strings.Cut(string(text), ") ") // a name may hold blanks
	f := strings.Fields(rest)
	if !found || len(f) < 20 {
		return c, false
	}
	c.pid, c.begun, c.zombie = pid, f[19], f[0] == "Z"
	_, c.name, _ = strings.Cut(head, "(")
	c.parent, err = strconv.Atoi(f[1])
	return c, err == nil
}

// lives says whether the process still runs.
func lives(c child) bool {
	now, ok := look(c.pid)
	return ok && now.begun == c.begun && !now.zombie
}

// openFiles counts what a process has open.
func openFiles(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatalf("look at the process: %v", err)
	}
	return len(list)
}

// quit has a process of Go show its goroutines and end.
func quit(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatalf("quit: %v", err)
	}
}
