// Hostd-kit is the tool of those who write plugins: hostd starts it for its commands new, plugins test and plugins try,
// so that the service carries none of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as hostd has them.
const (
	exitRun   = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	k := &kit{out: os.Stdout}
	err := k.root().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.As(err, &said{}) {
		fmt.Fprintln(os.Stderr, "hostd:", err)
	}
	os.Exit(code(err))
}

// said is an error that was printed already.
type said struct{ error }

// Unwrap gives the error.
func (s said) Unwrap() error { return s.error }

// usage is a command line that cannot be understood.
type usage struct{ error }

func code(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage{}):
		return exitUsage
	}
	return exitRun
}

// kit is one call of the program.
type kit struct {
	out  io.Writer
	json bool
}

func (k *kit) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "hostd",
		Short:         "write a plugin for hostd, try it, and put it to the test",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(k.out)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().BoolVar(&k.json, "json", false, "answer in JSON")
	plugins := &cobra.Command{Use: "plugins", Short: "try a plugin, and put it to the test"}
	plugins.AddCommand(k.testCommand(), k.tryCommand())
	root.AddCommand(plugins)
	root.AddCommand(k.newCommand())
	return root
}
