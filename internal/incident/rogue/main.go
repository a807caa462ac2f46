// Rogue is a sink that misbehaves on purpose in every way that the SDK allows. It takes one act after the other, each for
// a while, and notes in its state folder which one it has begun, so that it goes on with the next after one that ended it.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

// handling is how long it takes for a batch, so that some always wait for it.
const handling = 50 * time.Millisecond

type rogue struct {
	Acts string        `setting:"acts,required" help:"names of acts, separated by commas"`
	Each time.Duration `setting:"each" default:"500ms" help:"how long an act lasts"`

	env     sdk.SinkEnv
	journal string
	now     atomic.Pointer[string] // the act that Write plays
}

// Open begins with the first act that is not in the journal.
func (r *rogue) Open(ctx context.Context, env sdk.SinkEnv) error {
	r.env, r.journal = env, filepath.Join(env.StateDir, "acts.txt")
	if err := env.Settings.Decode(r); err != nil {
		return err
	}
	text, err := os.ReadFile(r.journal)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	go r.play(context.WithoutCancel(ctx), strings.Split(r.Acts, ",")[strings.Count(string(text), "\n"):])
	return nil
}

func (r *rogue) play(ctx context.Context, acts []string) {
	for _, name := range acts {
		r.note(name)
		if do := calls[name]; do != nil {
			act, cancel := context.WithTimeout(ctx, r.Each)
			do(act, &careless{r.env.Store})
			<-act.Done()
			cancel()
			continue
		}
		r.now.Store(&name)
		select {} // the act ends the process
	}
	r.note("rest")
}

// note writes when an act begins, in milliseconds of the clock, before it begins.
func (r *rogue) note(name string) {
	f, err := os.OpenFile(r.journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d %s\n", time.Now().UnixMilli(), name)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		panic(err)
	}
}

// Write plays the acts that need a batch in its hands.
func (r *rogue) Write(ctx context.Context, _ []sdk.Record) error {
	time.Sleep(handling)
	name := r.now.Load()
	if name == nil {
		return nil
	}
	go endless(ctx, &careless{r.env.Store})
	time.Sleep(handling) // the call is on its way
	switch *name {
	case "panic":
		panic("rogue panics in the middle of a call")
	case "exit":
		os.Exit(3)
	case "stop":
		stopped()
	}
	select {} // hold, and what a stopped process wakes up to
}

// Close is forgotten: it does not return.
func (r *rogue) Close(context.Context) error { select {} }

func main() {
	serve.Sink(&rogue{}, sdk.Manifest{Name: "rogue", Version: "1.0.0", LossWindow: "everything: it stores nothing"})
}
