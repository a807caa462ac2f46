package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/host"
)

func (c *cli) findCommand() *cobra.Command {
	var q host.Lookup
	var from, to string
	cmd := &cobra.Command{
		Use:   "find",
		Short: "find records in the spool, newest first, and what became of each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.From, err = moment(from); err != nil {
				return err
			}
			if q.To, err = moment(to); err != nil {
				return err
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.Find(cmd.Context(), cfg, q)
			if err != nil {
				return err
			}
			return c.printFound(list)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.ID, "id", "", "with this id")
	f.StringVar(&q.Patient, "patient", "", "of the patient with this id")
	f.StringVar(&q.Device, "device", "", "of this device")
	f.StringVar(&q.Kind, "kind", "", "of this kind")
	f.Uint64Var(&q.Seq, "number", 0, "with this number")
	f.StringVar(&from, "from", "", "received at or after, for example 2026-03-01 or 2026-03-01T08:00:00")
	f.StringVar(&to, "to", "", "received before")
	f.IntVarP(&q.Limit, "limit", "n", 20, "how many at most; 0: all")
	return cmd
}

func (c *cli) printFound(list []host.Found) error {
	if c.json {
		return c.printJSON(list)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tDEVICE\tKIND\tRECEIVED\tRECORD\tWHAT BECAME OF IT")
	for i := range list {
		r := &list[i]
		var life []string
		for _, d := range r.Deliveries {
			text := d.Sink + ": " + d.State
			if d.Reason != "" {
				text += " (" + d.Reason + ")"
			}
			life = append(life, text)
		}
		if len(life) == 0 {
			life = []string{"no route"}
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Device, r.Kind, local(r.Received), r.ID, strings.Join(life, "; "))
	}
	return t.Flush()
}
