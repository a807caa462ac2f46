// Hostd runs a clinic's devices: it takes what they produce, puts it on disk before it acknowledges it, and delivers
// it to the clinic's database and files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

// version of hostd; a release sets it with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev" //nolint:gochecknoglobals // the linker needs a variable

// Exit codes, for scripts.
const (
	exitRun         = 1
	exitConfig      = 2
	exitEnvironment = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := &cli{out: os.Stdout, errs: os.Stderr, stop: stop}
	err := c.root().ExecuteContext(ctx)
	stop()
	if !errors.As(err, &said{}) && err != nil {
		say(err)
	}
	os.Exit(code(err))
}

// say prints an error: faults of the configuration in a line each, which begins with file and line; those of the machine
// likewise, and any other as one.
func say(err error) {
	var faults config.Faults
	if errors.As(err, &faults) {
		fmt.Fprintf(os.Stderr, "hostd: the configuration has %d faults:\n%v\n", len(faults), err)
		return
	}
	fmt.Fprintln(os.Stderr, "hostd:", strings.ReplaceAll(err.Error(), "\n", "\nhostd: "))
}

// said is an error that was printed already.
type said struct{ error }

// Unwrap gives the error.
func (s said) Unwrap() error { return s.error }

// usage is a command line that cannot be understood.
type usage struct{ error }

func code(err error) int {
	var faults config.Faults
	var other ended
	switch {
	case err == nil:
		return 0
	case errors.As(err, &other):
		return other.code
	case errors.As(err, &faults), errors.As(err, &usage{}):
		return exitConfig
	case errors.Is(err, host.ErrEnvironment):
		return exitEnvironment
	}
	return exitRun
}

// cli is one call of the program.
type cli struct {
	out, errs io.Writer
	stop      context.CancelFunc // gives the signals back and ends the command's context

	files []string
	set   map[string]string
	json  bool
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "hostd",
		Short:         "take exams from a clinic's devices, keep them safe, deliver them",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(c.out)
	root.SetErr(c.errs)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringArrayVarP(&c.files, "config", "c", nil, "configuration file; more than one are laid over each other")
	flags.StringToStringVar(&c.set, "set", nil, "one setting, for example --set workers.size=4")
	flags.BoolVar(&c.json, "json", false, "answer in JSON")
	root.AddCommand(c.runCommand(), c.checkCommand(), c.statusCommand(), c.examsCommand(), c.assignCommand(), c.findCommand(), c.deadCommand(), c.replayCommand(),
		c.spoolCommand(), c.namesCommand("devices", c.nameCommand("reset", "let it begin anew: what it sent is the same record when it comes again",
			"%s begins anew\n", host.Reset), c.renameCommand()), c.namesCommand("sinks"), c.pluginsCommand(), c.kitCommand("new", "begin a device or sink plugin: a module that builds, with its test", "new"), c.simulateCommand(), c.captureCommand(), c.reloadCommand(), c.doctorCommand(), c.versionCommand())
	return root
}

// group makes a command of commands: without one of them, or with a word that it does not know, it is a mistake.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage{fmt.Errorf("%s needs one of its commands; see %[1]s --help", cmd.CommandPath())}
		}
		return usage{fmt.Errorf("%s does not know %q; see %[1]s --help", cmd.CommandPath(), args[0])}
	}
	return cmd
}

// sources are the configuration's files. Without -c it is hostd.yaml in the working directory.
func (c *cli) sources() []string {
	if len(c.files) == 0 {
		return []string{"hostd.yaml"}
	}
	return c.files
}

// load reads the configuration.
func (c *cli) load() (*config.Config, error) {
	return config.Load(config.Options{Files: c.sources(), Env: os.Environ(), Set: c.set})
}
