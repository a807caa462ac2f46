package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload -c FILE",
		Short: "have the running host read its configuration anew; exit 0, or 2 with every fault, and the old one goes on",
		Long: "Have the running host read the files that it was started with anew. They are checked whole; then only what differs is\n" +
			"changed: a device or sink that is not among it misses nothing. With a fault nothing is changed, all faults are\n" +
			"printed, and the exit code is 2. The same happens by itself within seconds of a change of the files, and, but for Windows, at SIGHUP.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, faults := c.load() // the host says all of them, and those of the plugins
			if cfg == nil {
				return faults
			}
			done, err := host.Reload(cmd.Context(), cfg, host.ReloadArgs{By: who()})
			if len(done.Faults) > 0 && c.json {
				if err := c.printJSON(done); err != nil {
					return err
				}
				return said{done.Faults}
			}
			if err != nil {
				return config.Join(faults, err)
			}
			said := "reloaded: " + done.Change.String() + "\n"
			if done.Change.Empty() {
				said = "nothing has changed\n"
			}
			if len(done.Stopping) > 0 {
				said += "still stopping: " + strings.Join(done.Stopping, ", ") + "\n"
			}
			return c.answer(done, said)
		},
	}
}

// source is where run gets newer configurations from.
func (c *cli) source() host.Source {
	return host.Source{Load: c.load, Sum: func() string { return config.Sum(c.sources()) }, Hangup: hangups()}
}
