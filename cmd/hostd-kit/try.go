package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/hostd/hostd/core/kit/try"
	"github.com/hostd/hostd/core/sdk"
)

// trying is one `plugins try`.
type trying struct {
	try.Options
	file, records string
	set           []string
}

func (k *kit) tryCommand() *cobra.Command {
	o := &trying{}
	cmd := &cobra.Command{
		Use:   "try BINARY | try --attach ADDRESS",
		Short: "run one plugin alone, show what it says, and answer it",
		Long: "Start the plugin as the host does, or attach to one that runs in debug mode, and play the host: show its manifest, open it\n" +
			"with settings, show each record as it comes, and acknowledge it. Ctrl-C closes it.\n\n" +
			"Patients' data are masked unless --show-data says otherwise. With --state the next try goes on where this one was.",
		Example: "  hostd plugins try ./tonometer --set port=/dev/ttyS0 --set baud=9600\n" +
			"  hostd plugins try ./tonometer --settings tonometer.yaml --answer ask --state /tmp/tonometer\n" +
			"  hostd plugins try ./chart --settings chart.yaml --exams 3",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return k.try(cmd, o, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.file, "settings", "", "YAML or JSON `file` with the settings, as they stand below settings in a configuration")
	flags.StringArrayVar(&o.set, "set", nil, "one setting, `key=value`; the value as YAML")
	flags.StringVar(&o.State, "state", "", "`folder` that keeps the position and the plugin's own files (default a temporary one)")
	flags.StringVar(&o.Answer, "answer", try.Ack, "to each batch of a device: ack, refuse, none or ask")
	flags.DurationVar(&o.Every, "every", 0, "time between two polls of a polled device (default what its manifest says)")
	flags.StringVar(&o.records, "records", "", "for a sink: `file` of records, as the sink file writes them")
	flags.IntVar(&o.Exams, "exams", 0, "for a sink: how many invented exams it gets")
	flags.BoolVar(&o.ShowData, "show-data", false, "show patients' data")
	flags.BoolVar(&o.Raw, "raw", false, "show the source's bytes of each record; needs --show-data")
	flags.BoolVar(&o.Wire, "wire", false, "show what passes over the device's line, where the driver offers it")
	flags.StringVar(&o.Attach, "attach", "", "`address` that BINARY debug has printed")
	return cmd
}

func (k *kit) try(cmd *cobra.Command, o *trying, args []string) error {
	o.Out, o.In, o.JSON = k.out, os.Stdin, k.json
	if err := o.complete(args); err != nil {
		return usage{err}
	}
	if o.State == "" {
		dir, err := os.MkdirTemp("", "hostd-try-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // a folder that stays is the system's to empty
		o.State = dir
	}
	return try.Run(cmd.Context(), o.Options)
}

// complete makes the options of the flags.
func (o *trying) complete(args []string) (err error) {
	switch {
	case (len(args) == 1) == (o.Attach != ""):
		return errors.New("name the plugin's binary, or the address to attach to with --attach")
	case !slices.Contains([]string{try.Ack, try.Refuse, try.None, try.Ask}, o.Answer):
		return fmt.Errorf("--answer is ack, refuse, none or ask, not %q", o.Answer)
	case o.Raw && !o.ShowData:
		return errors.New("--raw shows patients' data: add --show-data")
	case o.Every < 0 || o.Exams < 0:
		return errors.New("--every and --exams are not below 0")
	}
	if len(args) == 1 {
		if o.Binary, err = filepath.Abs(args[0]); err != nil {
			return err
		}
	}
	if o.State != "" {
		if o.State, err = filepath.Abs(o.State); err != nil {
			return err
		}
	}
	if o.Settings, err = settingsOf(o.file, o.set); err != nil {
		return err
	}
	if o.records != "" {
		o.Records, err = recordsOf(o.records)
	}
	return err
}

// settingsOf reads the file and puts the single settings over it.
func settingsOf(file string, set []string) (map[string]any, error) {
	settings := map[string]any{}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--settings: %w", err)
		}
		if err := yaml.Unmarshal(b, &settings); err != nil {
			return nil, fmt.Errorf("--settings: %s: %w", file, err)
		}
	}
	for _, kv := range set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: want key=value", key)
		}
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); err != nil {
			return nil, fmt.Errorf("--set %s: its value is no YAML", key)
		}
		settings[key] = v
	}
	return settings, nil
}

// recordsOf reads lines as the sink file writes them; those of attachments have no content.
func recordsOf(file string) (list []sdk.Record, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--records: %w", err)
	}
	defer f.Close()
	lines := json.NewDecoder(f)
	for {
		var r struct {
			ID          string            `json:"id"`
			Kind        string            `json:"kind"`
			Time        time.Time         `json:"time"`
			Labels      map[string]string `json:"labels"`
			ContentType string            `json:"content_type"`
			Data        json.RawMessage   `json:"data"`
			Encoding    string            `json:"encoding"`
			Raw         []byte            `json:"raw"`
			Amends      string            `json:"amends"`
			Unassigned  bool              `json:"unassigned"`
		}
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("--records: record %d: %w", len(list)+1, err)
		}
		data, err := dataOf(r.Data, r.Encoding)
		if err != nil {
			return nil, fmt.Errorf("--records: data of record %d: %w", len(list)+1, err)
		}
		list = append(list, sdk.Record{
			ID: r.ID, Kind: r.Kind, Time: r.Time, Labels: r.Labels, ContentType: r.ContentType, Data: data, Raw: r.Raw, Amends: r.Amends, Unassigned: r.Unassigned,
		})
	}
}

// dataOf is the data of a line: JSON as it is, text, or base64.
func dataOf(data json.RawMessage, encoding string) ([]byte, error) {
	if len(data) == 0 || data[0] != '"' {
		return data, nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil || encoding != "base64" {
		return []byte(s), err
	}
	return base64.StdEncoding.DecodeString(s)
}
