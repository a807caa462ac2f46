package python

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

// TestConformance runs the suite on the driver in Python, built as its README says.
func TestConformance(t *testing.T) {
	binary := build(t)
	sdktest.RunDevice(t, sdktest.Device{Binary: binary, Instrument: func(t testing.TB) sdktest.Instrument {
		return instrument(t, binary)
	}})
}

// build makes the plugin, or skips where this machine has no Python for it.
func build(t testing.TB) string {
	t.Helper()
	for _, needed := range [][]string{
		{"/usr/bin/python3", "-c", "import google.protobuf, grpc, cryptography"},
		{"protoc", "--version"},
	} {
		if out, err := exec.CommandContext(t.Context(), needed[0], needed[1:]...).CombinedOutput(); err != nil {
			t.Skipf("skip: needs Debian's python3-grpcio, python3-protobuf, python3-cryptography and protobuf-compiler: %v %s", err, out)
		}
	}
	binary := filepath.Join(t.TempDir(), "linefile")
	if out, err := exec.CommandContext(t.Context(), "./build", binary).CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	return binary
}

// instrument starts the plugin's own simulator.
func instrument(t testing.TB, binary string) sdktest.Instrument {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "simulate", "--conformance")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the instrument: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the instrument: %v", err)
		}
	})
	lines := bufio.NewReader(out)
	var said struct {
		Settings map[string]any `json:"settings"`
		Records  int            `json:"records"`
	}
	if err := json.Unmarshal([]byte(line(t, lines)), &said); err != nil {
		t.Fatalf("the instrument says what it is: %v", err)
	}
	return sdktest.Instrument{Settings: said.Settings, Records: said.Records, Produce: func(n int) {
		if _, err := fmt.Fprintf(in, "produce %d\n", n); err != nil {
			t.Fatalf("ask the instrument for %d records: %v", n, err)
		}
		if got := line(t, lines); got != "ok" {
			t.Fatalf("the instrument answers %q, want ok", got)
		}
	}}
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatalf("read from the instrument: %v", err)
	}
	return strings.TrimSpace(text)
}
