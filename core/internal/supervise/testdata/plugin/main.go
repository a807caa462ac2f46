// Plugin is what the tests of supervise start: a good plugin, or a bad one by the name of its binary and its settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

// The true streams: go-plugin puts others into os.Stdout and os.Stderr later.
var stdout, stderr = os.Stdout, os.Stderr

func main() {
	m := sdk.Manifest{Name: "plugin", Version: "1.2.3"}
	switch strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") {
	case "prints":
		fmt.Println("hello from the plugin")
	case "quits":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(3)
	case "mute":
		select {
		case <-time.After(time.Hour):
		}
	case "longline":
		fmt.Println(strings.Repeat("x", 1<<20))
	case "frozen":
		frozen()
	case "silent":
		raw(&huge{}, silent)
	case "huge":
		raw(&huge{})
	case "future":
		future()
	case "window8":
		m.Window = 8
	case "refuser":
		serve.Device(&refuser{}, m)
	case "polled":
		m.Polled = true
	case "sink":
		serve.Sink(&sink{}, m)
	}
	serve.Device(&device{}, m)
}

// device makes numbered records; a position is a number, too. What the host says is written to the file "heard".
type device struct {
	Mode    string `setting:"mode" help:"how it misbehaves"`
	Batches int    `setting:"batches" help:"after which Read has no more"`
	Size    int    `setting:"size" default:"1" help:"records of a batch"`
	Lines   int    `setting:"lines" help:"that it logs"`

	dir  string
	read int64
	done chan struct{}
}

func (d *device) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	d.dir = env.StateDir
	d.read, _ = strconv.ParseInt(string(from), 10, 64)
	d.tell("open at " + string(from))
	switch d.Mode {
	case "crash":
		os.Exit(7)
	case "fail":
		return errors.New("port is not there")
	case "fail once":
		if strings.Count(d.heard(), "open") == 1 {
			return errors.New("port is not there")
		}
	case "flood":
		env.Go(flood)
	case "logs":
		env.Go(func(context.Context) error { return d.logs(env.Log) })
	case "prints":
		if err := prints(); err != nil {
			return err
		}
	case "hungry":
		env.Go(func(context.Context) error { return take(4 << 10) })
	case "modest":
		return take(40)
	case "parent", "stubborn":
		if err := d.bear(); err != nil {
			return err
		}
	case "environment":
		return os.WriteFile(filepath.Join(d.dir, "environment"), []byte(strings.Join(os.Environ(), "\n")), 0o600)
	}
	env.Go(func(ctx context.Context) error { return d.wake(ctx, env.Wake) })
	return nil
}

// flood writes until the host has had 20,000 lines, then crashes.
func flood(context.Context) error {
	for i := range 20_000 {
		fmt.Fprintln(stderr, "line", i, strings.Repeat("x", 100))
	}
	fmt.Fprintln(stderr, strings.Repeat("y", 300_000))
	fmt.Fprintln(stderr, "the flood is over")
	os.Exit(5)
	return nil
}

// deep panics with a stack that is longer than what the host keeps of it.
func deep(n int) int {
	if n == 0 {
		panic("wires crossed")
	}
	return deep(n-1) + 1
}

// wake asks for a poll when the file "wake" appears.
func (d *device) wake(ctx context.Context, wake func()) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if os.Remove(filepath.Join(d.dir, "wake")) == nil {
			wake()
		}
	}
}

func (d *device) Read(ctx context.Context) (sdk.Batch, error) {
	if d.Mode == "slow" {
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
	switch d.Mode {
	case "panic":
		deep(60)
	case "stubborn":
		select {} // it does not hear the end of ctx
	}
	if d.read >= int64(d.Batches) {
		if d.Mode == "deaf" {
			select {} // a poll that does not end
		}
		if strings.Contains(os.Args[0], "polled") {
			d.tell("nothing more")
			return sdk.Batch{}, nil
		}
		<-ctx.Done()
		return sdk.Batch{}, ctx.Err()
	}
	d.read++
	b := sdk.Batch{Next: sdk.Offset(d.read)}
	for i := range d.Size {
		b.Records = append(b.Records, sdk.Record{ID: fmt.Sprint(d.read, "-", i), Kind: "exam", Data: []byte("{}")})
	}
	return b, nil
}

func (d *device) Ack(_ context.Context, upTo sdk.Position) error {
	d.tell("ack " + string(upTo))
	return nil
}

func (d *device) Close(context.Context) error {
	d.tell("close")
	if d.Mode == "hang at close" || d.Mode == "stubborn" {
		select {}
	}
	return nil
}

func (d *device) heard() string {
	b, err := os.ReadFile(filepath.Join(d.dir, "heard"))
	if err != nil {
		return ""
	}
	return string(b)
}

func (d *device) tell(line string) {
	if d.dir == "" {
		return
	}
	f, err := os.OpenFile(filepath.Join(d.dir, "heard"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tell:", err)
		syscall.Exit(9)
	}
}

// refuser is a device with a negative answer: it reads the refused batch again.
// Its settings are those that the device in it reads.
type refuser struct {
	Mode    string `setting:"mode" help:"how it misbehaves"`
	Batches int    `setting:"batches" help:"after which Read has no more"`
	Size    int    `setting:"size" default:"1" help:"records of a batch"`
	Lines   int    `setting:"lines" help:"that it logs"`

	device
}

func (r *refuser) Refuse(_ context.Context, upTo sdk.Position, why sdk.Reason) error {
	r.tell("refuse " + string(upTo) + " " + string(why))
	n, err := strconv.ParseInt(string(upTo), 10, 64)
	r.read = n - 1
	return err
}

// sink stores nothing.
type sink struct{}

func (*sink) Open(context.Context, sdk.SinkEnv) error   { return nil }
func (*sink) Write(context.Context, []sdk.Record) error { return nil }
func (*sink) Close(context.Context) error               { return nil }
