package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// simulate is `file simulate`: the folder to which the suite has it write.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	flags := flag.NewFlagSet("file simulate", flag.ContinueOnError)
	suite := flags.Bool("conformance", false, "be the destination of the conformance suite, a folder of its own")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if !*suite {
		return serve.Usage(errors.New("a folder needs no simulation: name the sink in the configuration; --conformance is for the suite"))
	}
	dir, err := os.MkdirTemp("", "file-simulate-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return sim.ConformanceSink(ctx, in, out, sim.Destination{
		Settings: map[string]any{"dir": dir},
		Stored:   func() ([]string, error) { return storedIn(dir) },
		Bad:      lost(),
	})
}

// lost is a record whose attachment nobody has.
func lost() *sdk.Record {
	return &sdk.Record{ID: "bad-1", Kind: "document", Data: []byte("x"), Attachments: []sdk.Attachment{
		{Name: "image.jpg", Size: 1, Hash: strings.Repeat("0", 64)},
	}}
}

// storedIn gives the id of every whole line in a folder's files.
func storedIn(dir string) (ids []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, namePrefix+"*"+nameSuffix))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			var r struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(line, &r); err != nil {
				return nil, fmt.Errorf("line of %s: %w", filepath.Base(f), err)
			}
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}
