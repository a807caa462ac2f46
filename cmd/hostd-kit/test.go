package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

// errBroken is a plugin that does not keep the contract; the report says how.
var errBroken = errors.New("the plugin does not keep the contract")

// test is one `plugins test`.
type test struct {
	instrument, destination, settings string
	without                           bool
}

func (k *kit) testCommand() *cobra.Command {
	o := &test{}
	cmd := &cobra.Command{
		Use:   "test BINARY",
		Short: "hold a plugin's binary against the contract, in whatever language it was written",
		Long: "Start the plugin as the host does, play host and instrument (or destination) to it, and say for each rule of docs/contract.md\n" +
			"whether it keeps it: what was seen, at which call, and what to do.\n\n" +
			"A device needs an instrument that it reads from, a sink a destination that can be looked into. The plugin's own is asked first,\n" +
			"BINARY simulate --conformance; another program is named with --instrument or --destination. docs/contract.md says what such a\n" +
			"program prints and is told.\n\n" +
			"It exits with 0 when every rule is kept, with 1 when one is broken or could not be looked at, with 2 when the command line is wrong.",
		Example: "  hostd plugins test ./plugins/devices/tonometer/tonometer\n" +
			"  hostd plugins test ./tonometer --instrument \"python3 instrument.py --fast\"\n" +
			"  hostd plugins test ./chart --destination ./chart-destination --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return usage{fmt.Errorf("%w: name the plugin's binary; see %s --help", err, cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return k.test(cmd, o, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.instrument, "instrument", "", "`program` and its arguments that plays the instrument of a device")
	flags.StringVar(&o.destination, "destination", "", "`program` and its arguments that plays the destination of a sink")
	flags.StringVar(&o.settings, "settings", "", "YAML or JSON `file` with settings besides those of the instrument or destination, and over them")
	flags.BoolVar(&o.without, "without-instrument", false, "exit with 0 although rules were not examined for want of an instrument or a destination")
	return cmd
}

func (k *kit) test(cmd *cobra.Command, o *test, binary string) error {
	x, err := o.examination(binary)
	if err != nil {
		return usage{err}
	}
	log.SetOutput(io.Discard) // go-plugin tells there what the report tells better
	report, err := x.Examine(cmd.Context())
	if err != nil {
		return err
	}
	if k.json {
		enc := json.NewEncoder(k.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.Write(k.out)
	}
	if err != nil {
		return err
	}
	if report.Count(sdktest.Broken) > 0 || (report.Count(sdktest.NotExamined) > 0 && !o.without) {
		return said{errBroken} // the report says it
	}
	return nil
}

// examination is what the command line asks for.
func (o *test) examination(binary string) (x sdktest.Examination, err error) {
	if x.Binary, err = filepath.Abs(binary); err != nil {
		return x, err
	}
	if info, err := os.Stat(x.Binary); err != nil || info.IsDir() {
		return x, errors.Join(fmt.Errorf("%s is no file: name the plugin's binary", binary), err)
	}
	if x.Instrument, err = program(o.instrument); err != nil {
		return x, fmt.Errorf("--instrument: %w", err)
	}
	if x.Destination, err = program(o.destination); err != nil {
		return x, fmt.Errorf("--destination: %w", err)
	}
	x.Settings, err = settingsOf(o.settings, nil)
	return x, err
}

// program cuts a command line at its blanks; what holds blanks stands in double quotes.
func program(line string) (sdktest.Program, error) {
	if line = strings.TrimSpace(line); line == "" {
		return nil, nil
	}
	words := csv.NewReader(strings.NewReader(line))
	words.Comma = ' '
	list, err := words.Read()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", line, err)
	}
	var p sdktest.Program
	for _, word := range list {
		if word != "" {
			p = append(p, word)
		}
	}
	if p[0], err = exec.LookPath(p[0]); err != nil {
		return nil, err
	}
	return p, nil
}
