package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) replayCommand() *cobra.Command {
	var a host.ReplayArgs
	var from, to string
	cmd := &cobra.Command{
		Use:   "replay --sink SINK",
		Short: "deliver records that are still in the spool to a sink once more",
		Long: "Deliver records that are still in the spool (see spool.keep) to a sink once more: all of them, or those of a device,\n" +
			"kind, time or id. A sink with receipts takes a record that it has for what it is. --dry-run only counts.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if a.From, err = moment(from); err != nil {
				return err
			}
			if a.To, err = moment(to); err != nil {
				return err
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			a.By = who()
			n, err := host.Replay(cmd.Context(), cfg, a)
			if err != nil {
				return err
			}
			if a.Dry {
				return c.answer(n, fmt.Sprintf("%d records would be delivered once more\n", n.Records))
			}
			return c.answer(n, fmt.Sprintf("%d records are delivered once more\n", n.Records))
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.Sink, "sink", "", "the sink")
	f.StringVar(&a.Device, "device", "", "of this device only")
	f.StringVar(&a.Kind, "kind", "", "of this kind only; * is any text")
	f.StringVar(&a.ID, "id", "", "the record with this id only")
	f.StringVar(&from, "from", "", "received at or after, for example 2026-03-01 or 2026-03-01T08:00:00")
	f.StringVar(&to, "to", "", "received before")
	f.BoolVar(&a.Dry, "dry-run", false, "only say how many")
	if err := cmd.MarkFlagRequired("sink"); err != nil {
		panic(err) // the flag stands above
	}
	return cmd
}

// moment reads a time of this computer's zone; empty is none.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage{fmt.Errorf("%q is not a time: write for example 2026-03-01T08:00:00", text)}
}

func (c *cli) spoolCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "spool", Short: "what is on the host's own disk: ls, verify, export, key, forget"})
	cmd.AddCommand(c.spoolListCommand(), c.spoolVerifyCommand(), c.spoolExportCommand(), c.spoolKeyCommand(),
		c.nameCommand("forget", "forget a sink that is not in the configuration, and what waits for it", "%s is forgotten\n", host.Forget))
	return cmd
}

func (c *cli) spoolListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "list the files of the log and of the dead letters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.VerifySpool(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			return c.printFiles(list)
		},
	}
}

var errDamaged = errors.New("parts of the spool are damaged: see Damage in docs/operations.md; " +
	"what is good of those files is delivered, the rest is in spool/quarantine once a sink has met it")

func (c *cli) spoolVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "read every byte of the log, of the dead letters and of the attachments; exit 1 when something is damaged",
		Long: "Read every byte of the log, of the dead letters and of the attachments, with a running host or without. Each place that is not what was written is named\n" +
			"with its file and offset, and the exit code is 1. What a running host is in the middle of writing is no damage, and neither\n" +
			"is the end of the newest file that a power cut has torn: nobody was told that it is safe.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.VerifySpool(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			blobs, err := host.VerifyBlobs(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := c.printVerified(list, blobs); err != nil {
				return err
			}
			damaged := len(blobs.Damaged)+len(blobs.Missing) > 0
			for i := range list {
				damaged = damaged || list[i].Damaged > 0 || list[i].Missing
			}
			if damaged {
				return errDamaged
			}
			return nil
		},
	}
}

func (c *cli) printVerified(list []host.SpoolFile, b host.Blobs) error {
	if c.json {
		return c.printJSON(map[string]any{"files": list, "attachments": b})
	}
	if err := c.printFiles(list); err != nil {
		return err
	}
	var out strings.Builder
	for i := range list {
		damageLines(&out, &list[i])
	}
	for _, hash := range b.Missing {
		fmt.Fprintf(&out, "missing: attachment %s\n", hash)
	}
	for _, hash := range b.Damaged {
		fmt.Fprintf(&out, "damaged: attachment %s\n", hash)
	}
	fmt.Fprintf(&out, "attachments: %d named, %d missing, %d damaged; %d that nothing names\n", b.Named, len(b.Missing), len(b.Damaged), b.Orphans)
	_, err := io.WriteString(c.out, out.String())
	return err
}

// damageLines names what is wrong with a file, a line each.
func damageLines(w *strings.Builder, f *host.SpoolFile) {
	if f.Missing {
		fmt.Fprintf(w, "missing: %s was deleted, and the file after it says that it belongs there\n", f.Name)
	}
	for _, d := range f.Damage {
		fmt.Fprintf(w, "damaged: %s at offset %d, %d bytes\n", f.Name, d.Offset, d.Bytes)
	}
	if more := f.Damaged - len(f.Damage); more > 0 {
		fmt.Fprintf(w, "damaged: %s at %d more places\n", f.Name, more)
	}
}

func (c *cli) printFiles(list []host.SpoolFile) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FILE\tBYTES\tRECORDS\tFROM\tTO\tSEALED\tDAMAGED")
	for i := range list {
		f := &list[i]
		damaged := fmt.Sprint(f.Damaged)
		switch {
		case f.Missing:
			damaged = "the file is missing"
		case f.Tail > 0:
			damaged += fmt.Sprintf(" (its last %d bytes are being written, or were torn by a crash: no damage)", f.Tail)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%t\t%s\n", f.Name, f.Bytes, f.Records, local(f.From), local(f.To), f.Sealed, damaged)
	}
	return t.Flush()
}

func local(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func (c *cli) spoolExportCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export --to FILE",
		Short: "write every record of the log as a line of JSON, with the patients' data; the audit keeps that you did",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return host.Environment(fmt.Errorf("export: %w", err))
			}
			w := bufio.NewWriter(f)
			n, err := host.ExportSpool(cmd.Context(), cfg, who(), w)
			if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
				return err
			}
			return c.answer(host.Count{Records: n}, fmt.Sprintf("%d records are in %s\n", n, to))
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "a new file")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag stands above
	}
	return cmd
}

// namesCommand has the commands that concern one device, or one sink, by its name.
func (c *cli) namesCommand(of string, commands ...*cobra.Command) *cobra.Command {
	cmd := group(&cobra.Command{Use: of, Short: "pause and resume " + of})
	cmd.AddCommand(c.nameCommand("pause", "stop until it is resumed, also over restarts; nothing is lost", "%s is paused\n", host.Pause),
		c.nameCommand("resume", "go on after a pause, or after the plugin crashed too often", "%s goes on\n", host.Resume))
	cmd.AddCommand(commands...)
	return cmd
}

func (c *cli) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rename OLD NEW", Short: "let it go on under another name, with its position and its counts",
		Long: "Let a device go on under another name: its position, what its plugin remembers, its counts and what is found. It is paused under the\n" +
			"old name until you have written the new one into the configuration. What is stored keeps the old name.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			a := host.RenameArgs{By: who(), Name: args[0], To: args[1]}
			if err := host.Rename(cmd.Context(), cfg, a); err != nil {
				return err
			}
			return c.answer(a, fmt.Sprintf("%s goes on as %s: write the new name into the configuration\n", a.Name, a.To))
		},
	}
}

func (c *cli) nameCommand(name, short, said string, do func(context.Context, *config.Config, host.NameArgs) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			a := host.NameArgs{By: who(), Name: args[0]}
			if err := do(cmd.Context(), cfg, a); err != nil {
				return err
			}
			return c.answer(a, fmt.Sprintf(said, a.Name))
		},
	}
}
