package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run -c FILE",
		Short: "run the host until it is stopped",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
}

// gcPercent keeps the host's peak under load some 12 MB lower than Go's own 100 at no CPU that could be measured
// (docs/benchmarks.md). GOGC wins.
const gcPercent = 40

// run is the daemon: the first signal, a stop over HTTP or the end of ctx drains it, a second signal ends it at once.
func (c *cli) run(ctx context.Context) error {
	started := time.Now()
	source := c.source() // from here on SIGHUP does not end the process
	cfg, faults := c.load()
	if cfg == nil {
		return faults
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	release, err := host.HoldPlugins()
	if err != nil {
		return err
	}
	defer release()
	if err := config.Join(faults, host.CheckPlugins(ctx, cfg)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := host.New(host.Options{Config: cfg, Reload: source, Version: version, Console: c.errs, Stop: cancel, Stopping: c.stop, Started: started})
	if err := h.Open(ctx); err != nil {
		return errors.Join(err, h.Close())
	}
	err = h.Run(ctx, func() {
		_, _ = fmt.Fprintf(c.out, "hostd is ready: http://%s/\n", h.Addr()) // nobody may listen; /readyz says the same
	})
	return errors.Join(err, h.Close())
}

func (c *cli) checkCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "check the configuration, the plugins and the machine; exit 0, 2 (configuration) or 3 (machine)",
		Long: "Check the configuration, the plugins and whether this account finds on this machine what run needs: data_dir and its lock, the log file, the port of\n" +
			"admin.listen, the database, the key of a sealed spool; and whether the database has what the sinks write: what is missing is printed, and never made.\n" +
			"It changes nothing, and may be run beside a running host, best under the same account.\n" +
			"Exit 0, 2 (configuration) or 3 (machine).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd.Context(), show) },
	}
	cmd.Flags().BoolVar(&show, "print", false, "print the configuration in effect, secrets masked")
	return cmd
}

func (c *cli) check(ctx context.Context, show bool) error {
	cfg, loaded := c.load()
	if cfg == nil {
		return c.verdict(loaded, host.Checked{})
	}
	if show {
		if _, err := fmt.Fprint(c.out, cfg.Redacted()); err != nil {
			return err
		}
	}
	release, err := host.HoldPlugins()
	if err != nil {
		return err
	}
	defer release()
	found := host.Check(ctx, cfg)
	err = errors.Join(c.verdict(config.Join(loaded, found.Faults), found), c.propose(found.Proposals))
	if err != nil || c.json {
		return err
	}
	_, err = fmt.Fprintf(c.out, "ok: %d devices, %d sinks, %d routes\n", len(cfg.Devices), len(cfg.Sinks), len(cfg.Routes))
	return err
}

// propose prints what would mend the database, so that the output is a script for whoever looks after it.
func (c *cli) propose(list []host.Proposal) error {
	if c.json {
		return nil
	}
	sink := ""
	for _, p := range list {
		if p.Sink != sink {
			sink = p.Sink
			if _, err := fmt.Fprintf(c.out, "-- What sink %s lacks in the database. hostd does not run it: read it, change it where you know better, and run it.\n", sink); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(c.out, p.Text); err != nil {
			return err
		}
	}
	return nil
}

// verdict prints what a check found; with --json one object. Its error is what was found amiss.
func (c *cli) verdict(faults error, found host.Checked) error {
	err := errors.Join(faults, errors.Join(found.Environment...))
	if !c.json {
		for _, note := range found.Notes {
			if _, werr := fmt.Fprintln(c.errs, "hostd:", note); werr != nil {
				return errors.Join(err, werr)
			}
		}
		return err
	}
	var list config.Faults
	answer := struct {
		OK          bool            `json:"ok"`
		Faults      []config.Fault  `json:"faults"`
		Environment []string        `json:"environment"`
		Notes       []string        `json:"notes"`
		Proposals   []host.Proposal `json:"proposals"`
	}{
		OK: err == nil, Faults: []config.Fault{}, Environment: []string{},
		Notes: append([]string{}, found.Notes...), Proposals: append([]host.Proposal{}, found.Proposals...),
	}
	switch {
	case errors.As(faults, &list):
		answer.Faults = list
	case faults != nil:
		return err
	}
	for _, e := range found.Environment {
		answer.Environment = append(answer.Environment, e.Error())
	}
	if werr := c.printJSON(answer); werr != nil || err == nil {
		return werr
	}
	return said{err}
}
