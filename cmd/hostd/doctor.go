package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor -c FILE",
		Short: "why something does not work, and what to do; exit 0, 3 (a fault was found) or 2 (the configuration cannot be read)",
		Long: "Look at everything that keeps hostd from working: configuration, plugins and their files, folders and rights, ports, serial ports, database, spool,\n" +
			"clock, disk, and what a running hostd says of itself. Each look is a line, with what to do where something is wrong.\n" +
			"It changes nothing, and may be run beside a running host, best under the same account.\n" +
			"Exit 0, 3 (a fault was found) or 2 (the configuration cannot be read).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, loaded := c.load()
			release, err := host.HoldPlugins()
			if err != nil {
				return err
			}
			defer release()
			list, err := host.Examine(cmd.Context(), cfg, loaded)
			if c.json {
				err = errors.Join(err, c.printJSON(list))
			} else {
				err = errors.Join(err, host.WriteFindings(c.out, list))
			}
			if err != nil {
				return err
			}
			return diagnosis(cfg, loaded, list)
		},
	}
}

// diagnosis is the end of doctor: it has said everything already.
func diagnosis(cfg *config.Config, loaded error, list []host.Finding) error {
	var faults config.Faults
	if errors.As(loaded, &faults) && (cfg == nil || faults.Unread()) {
		return said{loaded}
	}
	if slices.ContainsFunc(list, func(f host.Finding) bool { return f.Verdict == host.VerdictFault }) {
		return said{host.Environment(errors.New("doctor has found faults"))}
	}
	return nil
}
