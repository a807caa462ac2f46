package serve_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

// playVar makes the test's binary a plugin: with its instrument, or without one.
const playVar = "HOSTD_SERVE_TEST"

func TestMain(m *testing.M) {
	manifest := sdk.Manifest{Name: "acme", Version: "1.0.0"}
	switch os.Getenv(playVar) {
	case "device":
		serve.Device(nil, manifest, serve.Simulate(instrument))
	case "sink":
		serve.Sink(nil, manifest, serve.Simulate(instrument))
	case "bare":
		serve.Device(nil, manifest)
	}
	os.Exit(m.Run())
}

// instrument does what the tests ask for.
func instrument(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("acme simulate", flag.ContinueOnError)
	do := flags.String("do", "", "what to do")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	switch *do {
	case "echo":
		_, err := io.Copy(out, in)
		return err
	case "fail":
		return errors.New("the port is gone")
	case "wait":
		fmt.Fprintln(out, "waits")
		<-ctx.Done()
		return ctx.Err()
	}
	return serve.Usage(errors.New("say what to do"))
}

func TestSimulate(t *testing.T) {
	for _, c := range []struct {
		kind, args string
		in         string
		code       int
		out, errs  string
	}{
		{"device", "simulate -do echo", "exam", 0, "exam", ""},
		{"sink", "simulate -do echo", "exam", 0, "exam", ""},
		{"device", "simulate -do fail", "", 1, "", "acme simulate: the port is gone\n"},
		{"device", "simulate", "", 2, "", "acme simulate: say what to do\n"},
		{"device", "simulate -what", "", 2, "", "acme simulate: flag provided but not defined: -what; see --help\n"},
		{"device", "simulate more", "", 2, "", "acme simulate: \"more\" is no flag; see --help\n"},
		{"device", "simulate --help", "", 0, "acme simulate takes these flags:\n  -do string\n    \twhat to do\n", ""},
		{"bare", "simulate", "", 2, "", "acme has no simulated instrument: its author gives it one with serve.Simulate.\n"},
		{"device", "play", "", 1, "", "acme 1.0.0 is a plugin of hostd"},
		{"device", "", "", 1, "", "acme 1.0.0 is a plugin of hostd"},
	} {
		t.Run(c.kind+" "+c.args, func(t *testing.T) {
			cmd := plugin(t, c.kind, c.args)
			var out, errs bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.in), &out, &errs
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != c.code || out.String() != c.out || !strings.HasPrefix(errs.String(), c.errs) || (c.errs == "") != (errs.Len() == 0) {
				t.Errorf("%v: code %d\nout %q\nerr %q", err, cmd.ProcessState.ExitCode(), out.String(), errs.String())
			}
		})
	}
}

func plugin(t *testing.T, kind, args string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(args)...)
	cmd.Env = append(os.Environ(), playVar+"="+kind)
	return cmd
}
