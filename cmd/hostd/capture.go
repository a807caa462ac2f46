package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/host"
	"github.com/hostd/hostd/core/sdk/capture"
	"github.com/hostd/hostd/core/sdk/sim"
)

func (c *cli) captureCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "capture",
		Short: "what passed over a device's line: list, show, export, replay",
		Long: "What passed over a device's line while its setting capture was on. Letters and digits are masked, but for export --raw, which the audit keeps.\n" +
			"Replay plays the instrument once more, to a driver that runs.",
	})
	cmd.AddCommand(c.captureListCommand(), c.captureShowCommand(), c.captureExportCommand(), c.captureReplayCommand())
	return cmd
}

func (c *cli) captureListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [DEVICE] -c FILE",
		Short: "the connections that were captured",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			list, err := host.Captures(cfg, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "DEVICE\tCONNECTION\tLINE\tBEGAN\tENDED\tHEARD\tSAID")
			for i := range list {
				l := &list[i]
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%d\t%d\n", l.Device, l.Number, l.Wire, local(l.Began), local(l.Ended), l.Heard, l.Said)
			}
			return t.Flush()
		},
	}
}

func (c *cli) captureShowCommand() *cobra.Command {
	var a host.CaptureArgs
	cmd := &cobra.Command{
		Use:   "show DEVICE -c FILE",
		Short: "print what was said, letters as x and digits as 9",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.captured(cmd.Context(), &a, args[0])
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(l)
			}
			for i := range l.Events {
				if _, err := fmt.Fprintln(c.out, &l.Events[i]); err != nil {
					return err
				}
			}
			return c.lost(&l)
		},
	}
	cmd.Flags().IntVar(&a.Connection, "connection", 0, "number of one connection, as list has it")
	return cmd
}

// captured reads a capture for a command.
func (c *cli) captured(ctx context.Context, a *host.CaptureArgs, device string) (capture.Log, error) {
	cfg, err := c.load()
	if err != nil {
		return capture.Log{}, err
	}
	a.By, a.Device = who(), device
	return host.Capture(ctx, cfg, *a)
}

// lost says how much of a capture could not be read.
func (c *cli) lost(l *capture.Log) error {
	if l.Bad == 0 {
		return nil
	}
	_, err := fmt.Fprintf(c.errs, "hostd: %d damaged lines of the capture are left out\n", l.Bad)
	return err
}

func (c *cli) captureExportCommand() *cobra.Command {
	var a host.CaptureArgs
	var to string
	cmd := &cobra.Command{
		Use:   "export DEVICE --to FILE -c FILE",
		Short: "write a capture into one file, masked unless --raw",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return host.Environment(fmt.Errorf("export: %w", err))
			}
			l, err := c.captured(cmd.Context(), &a, args[0])
			if err != nil {
				return errors.Join(err, f.Close(), os.Remove(to))
			}
			_, err = f.Write(l.Text())
			if err = errors.Join(err, f.Sync(), f.Close(), c.lost(&l)); err != nil {
				return err
			}
			if a.Raw {
				if _, err := fmt.Fprintf(c.errs, "hostd: %s has the patients' data in it: keep it in the clinic, and delete it when the fault is found\n", to); err != nil {
					return err
				}
			}
			return c.answer(map[string]any{"file": to, "events": len(l.Events), "masked": l.Masked},
				fmt.Sprintf("%d events are in %s\n", len(l.Events), to))
		},
	}
	cmd.Flags().IntVar(&a.Connection, "connection", 0, "number of one connection, as list has it")
	cmd.Flags().BoolVar(&a.Raw, "raw", false, "the real bytes, with the patients' data; the audit keeps that you did")
	cmd.Flags().StringVar(&to, "to", "", "a new file")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag stands above
	}
	return cmd
}

func (c *cli) captureReplayCommand() *cobra.Command {
	var o sim.ReplayOptions
	var to string
	var connection int
	cmd := &cobra.Command{
		Use:   "replay FILE --to tcp:HOST:PORT|listen:ADDR|pty",
		Short: "play the instrument of an exported capture to a driver that runs",
		Long: "Play the instrument of an exported capture to a driver that runs: call it where it listens (tcp:HOST:PORT), wait for it where it calls\n" +
			"(listen:ADDR), or give it a serial line (pty, on Linux; its path is printed). A masked capture has other checksums and other people.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			open, end, err := c.lines(to)
			if err != nil {
				return err
			}
			n, err := host.ReplayCapture(cmd.Context(), args[0], connection, o, open)
			if err = errors.Join(err, end()); err != nil {
				return err
			}
			return c.answer(map[string]int{"connections": n}, fmt.Sprintf("%d connections were played\n", n))
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "where the driver is")
	cmd.Flags().IntVar(&connection, "connection", 0, "number of one connection")
	cmd.Flags().BoolVar(&o.Timing, "timing", false, "with the pauses that the instrument made")
	cmd.Flags().BoolVar(&o.Exact, "exact", false, "stop where the driver says other letters or digits than it did")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag stands above
	}
	return cmd
}

// lines says how a line to the driver is opened, and how what is open besides ends.
func (c *cli) lines(to string) (open func(context.Context) (sim.Conn, error), end func() error, err error) {
	kind, addr, _ := strings.Cut(to, ":")
	switch {
	case kind == "tcp" && addr != "":
		return func(ctx context.Context) (sim.Conn, error) { return sim.Dial(ctx, addr) }, func() error { return nil }, nil
	case kind == "listen" && addr != "":
		ln, err := sim.Listen(addr)
		if err != nil {
			return nil, nil, host.Environment(err)
		}
		_, err = fmt.Fprintf(c.errs, "hostd: waits for the driver on %s\n", ln.Addr())
		return ln.Accept, ln.Close, err
	case to == "pty":
		pty, err := sim.OpenPTY()
		if err != nil {
			return nil, nil, host.Environment(err)
		}
		_, err = fmt.Fprintf(c.errs, "hostd: the driver's port is %s\n", pty.Path())
		return func(context.Context) (sim.Conn, error) { return keptOpen{pty}, nil }, pty.Close, err
	}
	return nil, nil, usage{fmt.Errorf("--to %q: write tcp:HOST:PORT, listen:ADDR or pty", to)}
}

// keptOpen is a line that outlives a connection, as a serial cable does.
type keptOpen struct{ sim.Conn }

// Close leaves it open.
func (keptOpen) Close() error { return nil }
