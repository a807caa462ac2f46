package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/admin"
)

// Each line of the audit names the one before by its hash, also over restarts and beside each other.
func TestAuditIsAChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	for restart := range 3 {
		a, err := openAudit(path)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := a.note("kim", "dead.drop", map[string]int{"restart": restart, "i": i}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, before := bytes.Split(bytes.TrimSpace(b), []byte("\n")), ""
	for n, line := range lines {
		var l act
		if err := json.Unmarshal(line, &l); err != nil || l.Before != before || l.Who != "kim" || l.At.IsZero() {
			t.Fatalf("line %d: %v, %s, want before %s", n+1, err, line, before)
		}
		before = lineHash(line)
	}
	if len(lines) != 60 {
		t.Fatalf("%d lines, want 60", len(lines))
	}
}

// While a gate is closed nothing runs; opened, it runs again; a run that ends by itself is the end.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		runs, running := 0, false
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- g.run(ctx, func(ctx context.Context) error {
				runs, running = runs+1, true
				<-ctx.Done()
				running = false
				return nil
			})
		}()
		for want := 1; want <= 3; want++ {
			synctest.Wait()
			if runs != want || !running {
				t.Fatalf("%d runs, running %v; want %d", runs, running, want)
			}
			g.set(true)
			time.Sleep(time.Hour)
			synctest.Wait()
			if running || runs != want || !g.isPaused() {
				t.Fatalf("paused: %d runs, running %v", runs, running)
			}
			g.set(false)
		}
		synctest.Wait()
		g.set(true)
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		g.set(false)
		if err := g.run(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
			t.Fatalf("a run that failed: %v", err)
		}
	})
}

func TestOperationsThatAreNotUnderstood(t *testing.T) {
	h := New(Options{})
	for _, c := range []struct {
		name, args string
		want       error
	}{
		{"format_disk", `{}`, admin.ErrOperation},
		{opReplay, `{"sinc": "emr"}`, admin.ErrArguments},
		{opDrop, `[]`, admin.ErrArguments},
	} {
		if _, err := h.operate(t.Context(), c.name, []byte(c.args)); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.name, c.args, err, c.want)
		}
	}
	for name, args := range map[string]string{opDrop: `{"all": true}`, opRequeue: `{}`, opPause: `{"name": "nobody"}`, opReplay: `{"sink": "nobody"}`} {
		if _, err := h.operate(t.Context(), name, []byte(args)); err == nil {
			t.Errorf("%s %s was done", name, args)
		}
	}
}

// A masked record has the findings and nothing of the patient, in whatever form the data came.
func TestMaskedRecordHasNoPatient(t *testing.T) {
	const mark = "SYNTHETIC"
	for n, data := range []string{
		fmt.Sprintf(`{"patient":{"id":"%[1]s-1","name":"%[1]s","birth":"1990-01-02","sex":"F"},"device":{"make":"M","model":"","serial":""},`+
			`"taken_at":"2025-01-01","observations":[{"code":"sphere","eye":"R","value":1.5,"unit":"D","method":"","seq":0},`+
			`{"code":"note","eye":"B","value":"%[1]s","unit":"","method":"","seq":0},{"code":"axis","eye":"R","value":"%[1]s","unit":"deg","method":"","seq":0},`+
			`{"code":"axis","eye":"L","value":90,"unit":"deg","method":"","seq":0,"text":"%[1]s","flags":["%[1]s"]}]}`, mark),
		fmt.Sprintf(`{"patient": "%s"`, mark),
		mark,
	} {
		got := masked([]byte(data))
		if bytes.Contains(got, []byte(mark)) || bytes.Contains(got, []byte("1990")) {
			t.Errorf("%d: %s", n, got)
		}
		if n == 0 && !bytes.Contains(got, []byte(`"sphere"`)) {
			t.Errorf("the finding is gone: %s", got)
		}
	}
}
