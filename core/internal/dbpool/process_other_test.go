//go:build !linux

package dbpool_test

import (
	"errors"
	"os/exec"
)

func ordinary(*exec.Cmd, string) error {
	return errors.New("the tests start it on Linux alone")
}

func quit(*exec.Cmd) error { return nil }
