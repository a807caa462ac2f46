package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
)

// kitName is the program beside hostd that carries what only the authors of plugins need.
const kitName = "hostd-kit"

// kitCommand hands a command with all that follows it over to hostd-kit, which has its flags and its help. Path are the
// words that lead to it there.
func (c *cli) kitCommand(use, short string, path ...string) *cobra.Command {
	return &cobra.Command{
		Use:                use,
		Short:              short,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runBeside(cmd, kitName, append(path, args...))
		},
	}
}

// runBeside runs a program that lies beside hostd on this terminal, and ends as it ends.
func (c *cli) runBeside(cmd *cobra.Command, name string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = c.runProgram(cmd, filepath.Join(filepath.Dir(self), fileOf(name)), args)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not beside hostd: build it with go build -o DIR ./cmd/..., or copy it from the release", name)
	}
	return err
}

// fileOf is the file of a program on this system.
func fileOf(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return name
}

// runProgram runs a program on this terminal, and ends as it ends.
func (c *cli) runProgram(cmd *cobra.Command, path string, args []string) error {
	program := exec.CommandContext(cmd.Context(), path, args...) //nolint:gosec // the operator named it, or it lies beside hostd
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, c.out, c.errs
	program.Cancel = func() error { return program.Process.Signal(os.Interrupt) }
	err := program.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return said{ended{error: err, code: exit.ExitCode()}}
	case errors.Is(err, context.Canceled):
		return nil // it has ended well, as it was asked to
	}
	return err
}

// ended is the end of a program that hostd ran in its place.
type ended struct {
	error
	code int
}
