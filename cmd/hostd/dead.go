package main

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/host"
)

// who is the name for the audit.
func who() string {
	u, err := user.Current()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return u.Username
}

func (c *cli) deadCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "records that a sink will not get: list, show, requeue, drop", Args: cobra.NoArgs}
	list := c.deadListCommand()
	cmd.RunE = list.RunE
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.AddCommand(list, c.deadShowCommand(), c.deadRequeueCommand(), c.deadDropCommand())
	return cmd
}

func (c *cli) deadListCommand() *cobra.Command {
	var sink string
	var rejects, held bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list dead letters, oldest first; --rejects: what no decoder could read; --held: what waits for a patient",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if rejects {
				list, err := host.Rejects(cfg)
				if err != nil {
					return err
				}
				return c.printRejects(list)
			}
			find := host.DeadLetters
			if held {
				find = host.Held
			}
			list, err := find(cfg, sink)
			if err != nil {
				return err
			}
			return c.printDead(list)
		},
	}
	cmd.Flags().StringVar(&sink, "sink", "", "of this sink only")
	cmd.Flags().BoolVar(&held, "held", false, "exams without a patient that are held back, in place of what a sink refused")
	cmd.Flags().BoolVar(&rejects, "rejects", false, "what no decoder could read, in place of what a sink refused")
	return cmd
}

func (c *cli) printDead(list []host.DeadLetter) error {
	if c.json {
		return c.printJSON(list)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tSINK\tDEVICE\tKIND\tRECORD\tGIVEN UP\tTRIES\tREASON")
	for i := range list {
		l := &list[i]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Seq, l.Sink, l.Device, word(l.Kind), word(l.ID),
			l.Died.Local().Format(time.DateTime), l.Attempts, l.Reason)
	}
	return t.Flush()
}

func (c *cli) printRejects(list []host.Record) error {
	if c.json {
		return c.printJSON(list)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tDEVICE\tRECEIVED\tREASON\tDETAIL\tBYTES")
	for i := range list {
		r := &list[i]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Device, r.Received.Local().Format(time.DateTime),
			word(r.Labels["reason"]), word(r.Labels["detail"]), word(r.Labels["length"]))
	}
	return t.Flush()
}

func (c *cli) deadShowCommand() *cobra.Command {
	var sink string
	var reveal bool
	cmd := &cobra.Command{
		Use:   "show NUMBER",
		Short: "show a dead letter's record, without the patient unless asked",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			seqs, err := numbers(args)
			if err != nil {
				return err
			}
			r, err := host.ShowDead(cmd.Context(), cfg, host.DeadArgs{By: who(), Sink: sink, Seqs: seqs}, reveal)
			if err != nil {
				return err
			}
			return c.printJSON(r)
		},
	}
	cmd.Flags().StringVar(&sink, "sink", "", "of this sink")
	cmd.Flags().BoolVar(&reveal, "patient-data", false, "with the patient's data; the audit keeps that you looked")
	return cmd
}

func (c *cli) deadRequeueCommand() *cobra.Command {
	var a host.DeadArgs
	cmd := &cobra.Command{
		Use:   "requeue [NUMBER...]",
		Short: "deliver dead letters once more: by number, or --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.letters(&a, args, func() (host.Count, error) {
				cfg, err := c.load()
				if err != nil {
					return host.Count{}, err
				}
				return host.Requeue(cmd.Context(), cfg, a)
			}, "%d records are delivered once more\n")
		},
	}
	c.letterFlags(cmd, &a)
	return cmd
}

func (c *cli) deadDropCommand() *cobra.Command {
	var a host.DeadArgs
	cmd := &cobra.Command{
		Use:   "drop [NUMBER...] --why REASON",
		Short: "give up dead letters for good: by number, or --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.letters(&a, args, func() (host.Count, error) {
				cfg, err := c.load()
				if err != nil {
					return host.Count{}, err
				}
				return host.Drop(cmd.Context(), cfg, a)
			}, "%d dead letters are dropped\n")
		},
	}
	c.letterFlags(cmd, &a)
	cmd.Flags().StringVar(&a.Why, "why", "", "the reason, for the audit")
	return cmd
}

func (c *cli) letterFlags(cmd *cobra.Command, a *host.DeadArgs) {
	cmd.Flags().StringVar(&a.Sink, "sink", "", "of this sink only")
	cmd.Flags().BoolVar(&a.All, "all", false, "every dead letter (of the sink)")
}

func (c *cli) letters(a *host.DeadArgs, args []string, do func() (host.Count, error), said string) (err error) {
	if a.Seqs, err = numbers(args); err != nil {
		return err
	}
	a.By = who()
	n, err := do()
	if err != nil {
		return err
	}
	return c.answer(n, fmt.Sprintf(said, n.Records))
}

func (c *cli) answer(v any, text string) error {
	if c.json {
		return c.printJSON(v)
	}
	_, err := fmt.Fprint(c.out, text)
	return err
}

func numbers(args []string) (list []uint64, err error) {
	for _, a := range args {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil || n == 0 {
			return nil, usage{errors.New(a + " is not the number of a record: see hostd dead list")}
		}
		list = append(list, n)
	}
	return list, nil
}
