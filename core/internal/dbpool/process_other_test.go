//go:build !linux

package dbpool_test

import (
	"errors"
	"os/exec"
	"testing"
)

func ordinary(*exec.Cmd, string) error {
	return errors.New("the tests start it on Linux alone")
}

func quit(*exec.Cmd) error { return nil }

func (*postgresServer) freeze(testing.TB) {}

func (*postgresServer) thaw(testing.TB) {}
