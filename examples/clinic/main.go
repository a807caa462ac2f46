// Clinic is the main job in one command: it builds hostd and its plugins, starts the clinic of hostd.yaml in a folder of
// its own, lets three makers' instruments export into it, and shows the exams that arrived.
//
//	go run ./examples/clinic           ends by itself
//	go run ./examples/clinic -keep     leaves hostd running until Ctrl-C
//
// It needs Go alone. What it reads in examples/clinic is never changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

const (
	readyWait  = 30 * time.Second
	arriveWait = 60 * time.Second
)

// job is one run.
type job struct {
	root string // of the module
	bin  string // hostd and the plugins
	work string // where this clinic lives
	keep bool
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	var j job
	flag.StringVar(&j.work, "work", "", "folder for the clinic; a new one below data/ unless given")
	flag.StringVar(&j.bin, "bin", "", "where the programs go; bin/ unless given")
	flag.BoolVar(&j.keep, "keep", false, "leave hostd running until Ctrl-C")
	flag.Parse()
	if err := j.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "clinic:", err)
		os.Exit(1)
	}
}

func (j *job) run(ctx context.Context) error {
	if err := j.places(ctx); err != nil {
		return err
	}
	say("Building hostd and its plugins into %s (the first time takes a minute or two)", j.bin)
	if err := j.build(ctx); err != nil {
		return err
	}
	addr, err := j.prepare(ctx)
	if err != nil {
		return err
	}
	say("Starting the clinic in %s", j.work)
	h, err := start(ctx, j.hostd(), j.work)
	if err != nil {
		return err
	}
	err = j.show(ctx, h, addr)
	if err == nil && j.keep {
		say("\nhostd goes on. Drop more exports into %s, or end it with Ctrl-C.", filepath.Join(j.work, "in"))
		h.wait(ctx)
	}
	if stopped := h.stop(ctx, addr); err == nil {
		err = stopped // else it says the same again
	}
	return err
}

// show feeds the clinic and prints what came of it.
func (j *job) show(ctx context.Context, h *host, addr string) error {
	if err := h.ready(ctx, readyWait); err != nil {
		return err
	}
	say("hostd is ready: http://%s/", addr)
	want, err := j.export()
	if err != nil {
		return err
	}
	say("The instruments of three makers have exported %d files; waiting until all have arrived", want)
	if err := h.arrived(ctx, addr, filepath.Join(j.work, "in"), want); err != nil {
		return err
	}
	say("\nThe exams, as hostd exams shows them:\n")
	if err := j.command(ctx, j.work, j.hostd(), "exams", "-c", "hostd.yaml"); err != nil {
		return err
	}
	say("\nWhere to look:")
	for _, p := range [][2]string{
		{"database", "data/hostd.db"},
		{"archive", "archive"},
		{"exports, done", "in/topcon/done"},
		{"log", "log/hostd.log"},
		{"configuration", "hostd.yaml"},
	} {
		say("  %-15s %s", p[0], filepath.Join(j.work, filepath.FromSlash(p[1])))
	}
	say("  %-15s http://%s/ (while hostd runs: go run ./examples/clinic -keep)", "page", addr)
	return nil
}

// places settles the folders. A clinic gets a new folder, so that no run sees another one's data.
func (j *job) places(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil || !strings.HasSuffix(mod, "go.mod") {
		return errors.New("run it inside the repository: go run ./examples/clinic")
	}
	j.root = filepath.Dir(mod)
	if j.bin == "" {
		j.bin = filepath.Join(j.root, "bin")
	}
	if j.work == "" {
		j.work = filepath.Join(j.root, "data", "clinic-"+time.Now().Format("20060102-150405"))
	}
	if j.bin, err = filepath.Abs(j.bin); err != nil {
		return err
	}
	if j.work, err = filepath.Abs(j.work); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(j.work, "data")); err == nil {
		return fmt.Errorf("%s has been a clinic before: name another folder", j.work)
	}
	return nil
}

// build is the build command of the README, without cgo and without asking git for a version.
func (j *job) build(ctx context.Context) error {
	return j.command(ctx, j.root, "go", "build", "-buildvcs=false", "-o", j.bin+string(filepath.Separator),
		"./cmd/hostd", "./plugins/devices/...", "./plugins/sinks/...")
}

// command runs a program to its end, with its output on ours.
func (j *job) command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", filepath.Base(name), args[0], err)
	}
	return nil
}

func (j *job) hostd() string { return filepath.Join(j.bin, "hostd"+exe()) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
