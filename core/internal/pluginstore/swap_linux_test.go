package pluginstore

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var swaps = flag.Int("swaps", 200, "how often TestSwappedBinaryNeverRuns swaps a binary between its check and its start")

// TestSwappedBinaryNeverRuns has somebody exchange the file of the plugin folder all the time, written over in place or renamed, while it is taken and
// its copy started: only what is pinned ever runs.
func TestSwappedBinaryNeverRuns(t *testing.T) {
	good, evil := []byte("#!/bin/sh\necho good\n"), []byte("#!/bin/sh\necho evil\n")
	b := newBench(t, Trust{Mode: Pinned, Pins: []string{fmt.Sprintf("%x", sha256.Sum256(good))}})
	file := filepath.Join(b.opt.Inbox, "nidek")
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			text := [][]byte{good, evil}[n%2]
			var err error
			if n%3 == 0 {
				err = errors.Join(os.WriteFile(file+".new", text, 0o700), os.Rename(file+".new", file))
			} else {
				err = os.WriteFile(file, text, 0o700)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer func() { close(stop); swapper.Wait() }()
	ran, refused := 0, 0
	for ran+refused < *swaps || ran == 0 || refused == 0 {
		path, _, err := b.Take("nidek")
		switch {
		case errors.Is(err, ErrUntrusted):
			refused++
			continue
		case errors.Is(err, ErrLater):
			continue
		case err != nil:
			t.Fatal(err)
		}
		out, err := exec.Command(path).CombinedOutput()
		if err != nil || string(out) != "good\n" {
			t.Fatalf("after %d starts it says %q, %v", ran, out, err)
		}
		ran++
	}
	t.Logf("%d ran, all of them what was checked; %d were refused", ran, refused)
}
