package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// TestSimulate has the device read what its instrument exports: each exam once, and the damaged files as rejects.
func TestSimulate(t *testing.T) {
	for _, c := range []struct {
		format, ways   string
		exams, rejects int
	}{
		{"joia", "", 6, 0},
		{"nidek", "", 6, 0},
		{"joia", "slow,rename-over", 6, 0},
		{"nidek", "slow,partial,rename-over,malformed", 6, 3},
		{"huvitz", "slow,malformed", 6, 3},
		{"myah", "slow,partial,rename-over,malformed", 6, 3},
		{"gdt", "slow,malformed", 6, 3},
		{"csv", "slow,rename-over,malformed", 6, 2},
		{"json", "slow,partial,rename-over,malformed", 6, 3},
		{"document", "slow,rename-over,malformed", 0, 2 + 6},
	} {
		t.Run(c.format+" "+c.ways, func(t *testing.T) {
			inBubble(t, settingsOf(c.format), func(t *testing.T, r *rig) {
				done := make(chan error, 1)
				go func() {
					done <- simulate(t.Context(), []string{"--dir", r.dir, "--format", c.format, "--count", "6", "--every", "3s", "--seed", "1", "--misbehave", c.ways}, nil, io.Discard)
				}()
				r.run(2 * time.Minute)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				for id, e := range r.exams() {
					if o := e.Observations[len(e.Observations)-1]; strings.Contains(o.Value.String(), "%!") {
						t.Errorf("%s: %+v", id, o)
					}
				}
				if n := r.count(exam.Kind); n != c.exams || len(r.stored) != c.exams+c.rejects {
					t.Errorf("%d exams, %d records", n, len(r.stored))
				}
			})
		})
	}
}

// settingsOf are the settings with which the device reads what the instrument exports; those of docs/devices/folder.md.
func settingsOf(format string) map[string]any {
	settings := map[string]any{"format": format}
	places := []string{"SphR", "CylR", "AxisR", "SphL", "CylL", "AxisL"}
	if format == "json" {
		places = []string{"right.sphere", "right.cylinder", "right.axis", "left.sphere", "left.cylinder", "left.axis"}
	}
	if format == "csv" || format == "json" {
		var list []map[string]any
		for i, p := range places {
			list = append(list, map[string]any{"from": p, "code": []string{"sphere", "cylinder", "axis"}[i%3], "eye": "RL"[i/3 : i/3+1], "method": "autoref"})
		}
		settings["map"] = map[string]any{"separator": "semicolon", "patient_id": "Id", "date": "Date", "time": "Time", "exam_no": "No", "observations": list}
	}
	return settings
}

// count is how many records of the kind are stored.
func (r *rig) count(kind string) (n int) {
	for _, rec := range r.stored {
		if rec.Kind == kind {
			n++
		}
	}
	return n
}

// said is what a simulator prints, which may be read meanwhile.
type said struct {
	mu   sync.Mutex
	text []byte
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, b...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// TestSimulateNumbered holds that the instrument says which exam is stored when its file is put away, and no other, and ends when
// all are.
func TestSimulateNumbered(t *testing.T) {
	for _, format := range []string{"joia", "nidek", "gdt", "csv", "json", "myah"} {
		inBubble(t, settingsOf(format), func(t *testing.T, r *rig) {
			var out said
			done := make(chan error, 1)
			go func() {
				done <- simulate(t.Context(), []string{"--dir", r.dir, "--format", format, "--count", "5", "--every", "0", "--seed", "1", "--numbered"}, nil, &out)
			}()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if strings.Contains(out.String(), "answered") {
				t.Errorf("answered by nobody:\n%s", out.String())
			}
			r.run(10 * time.Second)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			for n := 1; n <= 5; n++ {
				id := fmt.Sprintf("K-%06d", n)
				if strings.Count(out.String(), "answered "+id+"\n") != 1 || r.exams()[id] == nil {
					t.Errorf("%s %s:\n%s", format, id, out.String())
				}
			}
		})
	}
}

// TestSimulateIsDeterministic holds that a seed makes the same files, and that an end which nobody asked for does not come.
func TestSimulateIsDeterministic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exports := func(seed string) (text string) {
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var out bytes.Buffer
			err := simulate(ctx, []string{"--dir", dir, "--count", "0", "--every", "4s", "--seed", seed}, nil, &out)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(out.String(), "exports to "+dir+" with seed "+seed+"\n") || strings.Count(out.String(), "\n") != 4 {
				t.Errorf("%v\n%s", err, out.String())
			}
			files, err := filepath.Glob(filepath.Join(dir, "*.xml"))
			if err != nil || len(files) != 3 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text += filepath.Base(f) + string(b)
			}
			return text
		}
		if first := exports("7"); exports("7") != first || exports("8") == first {
			t.Error("the seed does not decide")
		}
	})
}

func TestSimulateRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"": "--dir is missing", "--dir x --format other": "one of joia, nidek", "--dir x --misbehave slow,fast": "--misbehave knows", "--dir x --count -1": "negative",
	} {
		if err := simulate(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	if err := simulate(t.Context(), []string{"--dir", filepath.Join(t.TempDir(), "none")}, nil, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestSimulateConformance plays the suite's part of the talk.
func TestSimulateConformance(t *testing.T) {
	in, suite := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- simulate(t.Context(), []string{"--conformance"}, in, out) }()
	line := make([]byte, 512)
	n, err := answers.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(line[:n]), `"dir":"`)
	dir, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("%q", line[:n])
	}
	io.WriteString(suite, "produce 3\n")
	if n, err = answers.Read(line); string(line[:n]) != "ok\n" {
		t.Fatalf("%q, %v", line[:n], err)
	}
	if files, err := filepath.Glob(filepath.Join(strings.ReplaceAll(dir, `\\`, `\`), "*.xml")); len(files) != 3 || err != nil {
		t.Errorf("%v, %v", files, err)
	}
	suite.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder stays: %v", err)
	}
}
