package serve

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Mode is something else that a plugin's binary does when its first argument asks for it, in place of serving a host.
type Mode struct {
	word string
	run  func(ctx context.Context, args []string, in io.Reader, out io.Writer) error
}

// simulate is the word of the mode that every plugin is asked for.
const simulate = "simulate"

// Simulate makes the binary its own instrument: `NAME simulate ARGS` calls run with the arguments behind the word, the
// standard input and the standard output. The first SIGINT or SIGTERM ends ctx, one that comes a second later the
// process. What in says, and whether its end ends the instrument, is run's to decide. The process ends with 0 where run
// returns nil or flag.ErrHelp, or ctx has ended; with 2 for an error of Usage, and with 1 for any other, which is printed.
func Simulate(run func(ctx context.Context, args []string, in io.Reader, out io.Writer) error) Mode {
	return Mode{word: simulate, run: run}
}

// sameSignal is how long after the first signal another one is the same Ctrl-C: a terminal sends it to hostd and to the
// process that it runs, and hostd hands it on.
const sameSignal = time.Second

// usage is a command line that cannot be understood.
type usage struct{ error }

// Unwrap gives the error.
func (u usage) Unwrap() error { return u.error }

// Usage marks the error of a command line that cannot be understood: the process ends with 2.
func Usage(err error) error { return usage{err} }

// ParseFlags reads args into flags, for a Mode. Nothing may be left over. -h and --help print the flags to out and give
// flag.ErrHelp; what is wrong is an error of Usage, and is not printed.
func ParseFlags(flags *flag.FlagSet, args []string, out io.Writer) error {
	flags.Init(flags.Name(), flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		if _, err := fmt.Fprintf(out, "%s takes these flags:\n", flags.Name()); err != nil {
			return err
		}
		flags.PrintDefaults()
		return err
	case err != nil:
		return Usage(fmt.Errorf("%w; see --help", err))
	case flags.NArg() > 0:
		return Usage(fmt.Errorf("%q is no flag; see --help", flags.Arg(0)))
	}
	return nil
}

// runMode does what the first argument asks for, and ends the process. It returns where that names no mode.
func runMode(m *sdk.Manifest, modes []Mode) {
	if len(os.Args) < 2 {
		return
	}
	word := os.Args[1]
	i := slices.IndexFunc(modes, func(m Mode) bool { return m.word == word })
	switch {
	case i >= 0:
		boundMemory() // a simulator that measures must not be what is slow
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		os.Exit(modes[i].code(ctx, stop, m.Name))
	case word == simulate:
		fmt.Fprintf(os.Stderr, "%s has no simulated instrument: its author gives it one with serve.Simulate.\n", m.Name)
		os.Exit(2)
	}
}

// code runs the mode and says with what the process ends. Stop gives the signals back after the first one.
func (m *Mode) code(ctx context.Context, stop func(), name string) int {
	signals := life.NewGroup(ctx)
	signals.Go("signals", func(ctx context.Context) error {
		giveBack(ctx, stop)
		return nil
	})
	err := m.run(ctx, os.Args[2:], os.Stdin, os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return 0
	}
	head := name + " " + m.word + ": "
	fmt.Fprintln(os.Stderr, head+strings.ReplaceAll(err.Error(), "\n", "\n"+head))
	if errors.As(err, &usage{}) {
		return 2
	}
	return 1
}

// giveBack gives the signals back when ctx has ended and the same signal cannot come once more.
func giveBack(ctx context.Context, stop func()) {
	<-ctx.Done()
	<-time.After(sameSignal)
	stop()
}
