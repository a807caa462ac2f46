package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
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
		Short: "list the files of the log",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.VerifySpool(cfg)
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

var errDamaged = errors.New("parts of the spool are damaged: what is good of those files is delivered, the rest is in spool/quarantine once it was met")

func (c *cli) spoolVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "read every byte of the log and of the attachments; exit 1 when something is damaged",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.VerifySpool(cfg)
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
				damaged = damaged || list[i].Damaged > 0 && !list[i].Open
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
	_, err := fmt.Fprintf(c.out, "attachments: %d named, %d missing, %d damaged; %d that nothing names\n", b.Named, len(b.Missing), len(b.Damaged), b.Orphans)
	return err
}

func (c *cli) printFiles(list []host.SpoolFile) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FILE\tBYTES\tRECORDS\tFROM\tTO\tSEALED\tDAMAGED")
	for i := range list {
		f := &list[i]
		damaged := fmt.Sprint(f.Damaged)
		if f.Open && f.Damaged > 0 {
			damaged += " (the end may be in the middle of being written)"
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
				return fmt.Errorf("export: %w: %w", host.ErrEnvironment, err)
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

func (c *cli) spoolKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "make a key for spool.key: keep a copy in a safe place, since nothing can be read without it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key := make([]byte, 32)
			if _, err := rand.Read(key); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.out, base64.StdEncoding.EncodeToString(key))
			return err
		},
	}
}

// namesCommand has the commands that concern one device, or one sink, by its name.
func (c *cli) namesCommand(of string, commands ...*cobra.Command) *cobra.Command {
	cmd := group(&cobra.Command{Use: of, Short: "pause and resume " + of})
	cmd.AddCommand(c.nameCommand("pause", "stop until it is resumed, also over restarts; nothing is lost", "%s is paused\n", host.Pause),
		c.nameCommand("resume", "go on", "%s goes on\n", host.Resume))
	cmd.AddCommand(commands...)
	return cmd
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
