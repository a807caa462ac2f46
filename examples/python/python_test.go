package python

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

// TestConformance holds the driver in Python, built as its README says, against the contract, as `hostd plugins test` does.
func TestConformance(t *testing.T) {
	report, err := sdktest.Examination{Binary: build(t)}.Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	if report.Count(sdktest.Broken)+report.Count(sdktest.NotExamined) > 0 || report.Count(sdktest.Kept) < 15 {
		t.Error(text.String())
	}
	t.Log(text.String())
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
