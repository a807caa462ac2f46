// Picky is a sink that refuses every record whose id ends in 7, unless its state folder has a file lenient, and keeps the
// ids of the others in a file.
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

type picky struct {
	file    *os.File
	lenient string
}

func (p *picky) Open(_ context.Context, env sdk.SinkEnv) (err error) {
	p.lenient = filepath.Join(env.StateDir, "lenient")
	p.file, err = os.OpenFile(filepath.Join(env.StateDir, "ids.txt"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (p *picky) Write(_ context.Context, records []sdk.Record) error {
	_, missing := os.Stat(p.lenient)
	refused := sdk.RecordErrors{}
	for i := range records {
		if missing != nil && strings.HasSuffix(records[i].ID, "7") {
			refused[i] = sdk.Permanent(errors.New("an id that ends in 7"))
			continue
		}
		if _, err := p.file.WriteString(records[i].ID + "\n"); err != nil {
			return err
		}
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}

func (p *picky) Close(context.Context) error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

func main() {
	serve.Sink(&picky{}, sdk.Manifest{Name: "picky", Version: "1.0.0", LossWindow: "a crash leaves ids twice"})
}
