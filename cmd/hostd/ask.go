package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, string(b))
	return err
}

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status -c FILE",
		Short: "what the running host does: devices, sinks, database, alarms",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, faults := c.load() // a running host may have refused what is in the files, and says so
			if cfg == nil {
				return faults
			}
			s, err := host.Status(cmd.Context(), cfg)
			if err != nil {
				return config.Join(faults, err)
			}
			if c.json {
				return c.printJSON(s)
			}
			return host.WriteStatus(c.out, s)
		},
	}
}

func (c *cli) examsCommand() *cobra.Command {
	limit, unassigned := 20, false
	cmd := &cobra.Command{
		Use:   "exams -c FILE",
		Short: "the newest exams in the database; --unassigned: those that wait for a patient",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if limit < 1 {
				return usage{errors.New("--limit must be 1 at least")}
			}
			find := host.Exams
			if unassigned {
				find = host.Unassigned
			}
			list, err := find(cmd.Context(), cfg, limit)
			if err != nil && len(list) == 0 {
				return err
			}
			return errors.Join(c.printExams(list), err)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "how many at most")
	cmd.Flags().BoolVar(&unassigned, "unassigned", false, "only those that name no patient, of the database and of the spool: hostd assign names him")
	return cmd
}

func (c *cli) printExams(list []host.Exam) error {
	if c.json {
		return c.printJSON(list)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TAKEN\tDEVICE\tINSTRUMENT\tPATIENT\tFINDINGS\tRECORD")
	for i := range list {
		e := &list[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", word(e.TakenAt), e.Device, word(strings.TrimSpace(e.Make+" "+e.Model)),
			word(e.PatientID), e.Observations, e.RecordID)
	}
	return t.Flush()
}

// word is the text, or a dash where there is none.
func word(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "the version of hostd",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printJSON(map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(c.out, "hostd %s (%s %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
