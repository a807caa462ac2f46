// Package try runs one plugin alone, in a person's hands: it plays the host, shows what the plugin says, and answers it.
//
//	plugin ==gRPC==> [ try ] -> a terminal
package try

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/sdk"
)

// Answers to a device's batches.
const (
	Ack    = "ack"    // it is stored
	Refuse = "refuse" // it is not stored, for want of space
	None   = "none"   // nothing is said
	Ask    = "ask"    // a line of the standard input says which: a, r or n
)

// Options of one try.
type Options struct {
	Binary   string         // of the plugin, or
	Attach   string         // the address of one that runs under a debugger
	Settings map[string]any // as a configuration has them
	State    string         // folder for positions and what the plugin keeps; the next try goes on from there
	Every    time.Duration  // between two polls of a polled device; 0 is what its manifest says, or 5 s
	Answer   string         // to a device's batches
	Exams    int            // for a sink: how many invented exams it gets
	Records  []sdk.Record   // for a sink: records that it gets before these
	ShowData bool           // patients' data are shown
	Raw      bool           // the source's bytes are shown
	Wire     bool           // so is what passes over the line of a driver that offers it
	JSON     bool           // one line of JSON for each event
	In       *os.File       // the person's answers
	Out      io.Writer
}

// Deadlines of the contract. A plugin under a debugger has none: it may stand at a breakpoint.
const (
	openTime  = 15 * time.Second
	closeTime = 3 * time.Second
)

// trial is one try.
type trial struct {
	Options
	say   *printer
	lines <-chan string // of In; closed at its end
	proc  *supervise.Process
	seen  time.Time   // until then what passed over the line was shown
	group *life.Group // what runs beside the plugin's stream
}

// Run tries the plugin until ctx ends, or a sink has taken all; then it is closed. An error is the plugin's failure.
func Run(ctx context.Context, o Options) error {
	t := &trial{Options: o, say: &printer{out: o.Out, json: o.JSON}, group: life.NewGroup(ctx)}
	defer t.group.Cancel()
	for _, dir := range []string{"state", "staging", "attachments"} {
		if err := os.MkdirAll(filepath.Join(o.State, dir), 0o700); err != nil {
			return fmt.Errorf("prepare the state folder: %w", err)
		}
	}
	if o.Answer == Ask {
		t.lines = t.listen()
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &logLines{t.say}, JSONFormat: true})
	if o.Attach != "" {
		return supervise.Attach(ctx, o.Attach, log, t.use)
	}
	return t.own(ctx, log)
}

// own starts the plugin as the host does. Its standard input is a pipe of its own: the terminal's is the person's.
func (t *trial) own(ctx context.Context, log hclog.Logger) error {
	sockets, err := os.MkdirTemp("", "hostd")
	if err != nil {
		return fmt.Errorf("make folder for sockets: %w", err)
	}
	defer func() { _ = os.RemoveAll(sockets) }() // a folder that stays is the system's to empty
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make standard input: %w", err)
	}
	defer w.Close()
	defer r.Close()
	name := strings.TrimSuffix(filepath.Base(t.Binary), ".exe")
	return supervise.Run(ctx, supervise.Program{Name: name, Path: t.Binary, SocketDir: sockets, Log: log, Stdin: r}, t.use)
}

// listen reads the person's lines. Its goroutine ends with the process: a terminal cannot be left.
func (t *trial) listen() <-chan string {
	lines := make(chan string)
	t.group.Go("standard input", func(ctx context.Context) error {
		defer close(lines)
		return eachLine(t.In, func(line string) error {
			select {
			case lines <- line:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	return lines
}

// use plays the host to a running plugin.
func (t *trial) use(ctx context.Context, proc *supervise.Process) error {
	t.proc = proc
	m := proc.Manifest
	t.say.manifest(&m)
	if faults := sdk.CheckSettings(m.Settings, t.Settings); len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return fmt.Errorf("the settings are wrong: %w", errors.Join(errs...))
	}
	if m.Role == sdk.RoleSink {
		return t.sink(ctx)
	}
	return t.device(ctx)
}

// bounded is ctx with the contract's deadline, where the plugin is not under a debugger.
func (t *trial) bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if t.Attach != "" {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// settings is one JSON object.
func (t *trial) settings() ([]byte, error) {
	settings, err := t.captured(t.Settings)
	if err != nil {
		return nil, err
	}
	if settings == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(settings)
}

func (t *trial) path(parts ...string) string {
	return filepath.Join(append([]string{t.State}, parts...)...)
}
