package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// asInstrument makes the test's binary the simulated analyser, in a process of its own.
const asInstrument = "HOSTD_TEST_ASTM_SIMULATE"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(asInstrument); ok {
		if err := simulate(context.Background(), strings.Fields(args), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// BenchmarkInnerFrames sends messages of 1,000 results, a frame each, over TCP on loopback from another process: the next frame comes
// when the one before is acknowledged. Read, decoding and the answer to each message are in it, the host's disk is not.
func BenchmarkInnerFrames(b *testing.B) {
	const results = 1000
	r := newRig(b, nil)
	b.ResetTimer()
	messages := (b.N + results - 1) / results
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=--connect %s --count %d --every 0s --results %d --seed 1", asInstrument,
		strings.TrimPrefix(r.settings["port"].(string), listens), messages, results))
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	b.StopTimer()
	r.await(messages)
	b.ReportMetric(float64(messages*(results+4))/b.Elapsed().Seconds(), "frames/s")
	if !strings.Contains(string(out), fmt.Sprintf("sent %d, acknowledged %d, sent again 0", messages, messages)) {
		b.Errorf("%s", out)
	}
}
