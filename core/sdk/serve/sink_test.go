package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// shelf is a Sink that takes its time.
type shelf struct {
	diary
	opened  error
	writing chan struct{} // closed when Write has begun
	resume  chan struct{} // closed: Write goes on
}

func (s *shelf) Open(_ context.Context, env sdk.SinkEnv) error {
	s.write("open %s", env.Name)
	return s.opened
}

func (s *shelf) Write(context.Context, []sdk.Record) error {
	s.write("write")
	close(s.writing)
	<-s.resume
	s.write("written")
	return nil
}

func (s *shelf) Close(context.Context) error {
	s.write("close")
	return nil
}

func TestSinkCalls(t *testing.T) {
	s := &shelf{opened: errors.New("no such folder"), writing: make(chan struct{}), resume: make(chan struct{})}
	h := &sinkHandler{sink: s, log: newLogOutput(io.Discard)}
	if err := h.Open(t.Context(), wire.OpenSink{Name: "a"}, nil, nil); !errors.Is(err, s.opened) {
		t.Errorf("failed open: %v", err)
	}
	if err := h.Write(t.Context(), nil); err == nil {
		t.Error("wrote to what is not open")
	}
	s.opened = nil
	if err := h.Open(t.Context(), wire.OpenSink{Name: "b"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- h.Write(t.Context(), nil) }()
	<-s.writing
	go func() { done <- h.Close(t.Context()) }()
	close(s.resume)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	s.want(t, "open a", "close", "open b", "write", "written", "close")
}

func TestBlob(t *testing.T) {
	dir := t.TempDir()
	hash := strings.Repeat("ab", 32)
	if err := os.MkdirAll(filepath.Join(dir, "ab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ab", hash), []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := blobs(dir)
	f, err := open(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "image" {
		t.Errorf("%s, %v", b, err)
	}
	for _, bad := range []string{"", "ab", "../" + hash, strings.Repeat("cd", 32), strings.Repeat("/", 64)} {
		if _, err := open(t.Context(), bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("hash %q: %v", bad, err)
		}
	}
}

// TestDrainIsBounded holds that a Close which hangs does not keep a process whose host is gone.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, end := time.Now(), make(chan struct{})
		drain(t.Context(), func(context.Context) error { <-end; return nil })
		if took := time.Since(begun); took != drainTime {
			t.Errorf("drained for %v, the limit is %v", took, drainTime)
		}
		close(end)
		begun = time.Now()
		drain(t.Context(), func(context.Context) error { return nil })
		if took := time.Since(begun); took != 0 {
			t.Errorf("drained for %v with nothing to do", took)
		}
	})
}

func TestAwaitHostEnd(t *testing.T) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		awaitHostEnd(t.Context(), r)
		close(done)
	}()
	if _, err := w.Write([]byte("it is read")); err != nil { // and returns once it was
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Fatal("ended before its host")
	default:
	}
	w.Close()
	<-done
}

// TestLogLines holds the form that go-plugin's host side parses.
func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	l := newLogOutput(&b)
	l.logger.Debug("hidden")
	l.logger.Warn("port is slow", "baud", 9600)
	l.setLevel("debug")
	l.logger.Debug("seen")
	l.setLevel("nonsense")
	l.logger.Debug("hidden")
	var lines []map[string]any
	for d := json.NewDecoder(&b); d.More(); {
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	if len(lines) != 2 || lines[0]["@level"] != "warn" || lines[0]["@message"] != "port is slow" || lines[0]["baud"] != 9600.0 || lines[1]["@level"] != "debug" {
		t.Errorf("%v", lines)
	}
}

// inspector is a shelf that can be checked.
type inspector struct{ shelf }

func (s *inspector) Check(_ context.Context, env sdk.SinkEnv, _ sdk.Catalog) ([]sdk.Finding, error) {
	s.write("check %s", env.Name)
	return []sdk.Finding{{Text: "no table"}}, nil
}

// TestCheck is for those that have the ability, and not for what is open.
func TestCheck(t *testing.T) {
	plain := &sinkHandler{sink: &shelf{}, log: newLogOutput(io.Discard)}
	if found, err := plain.Check(t.Context(), wire.OpenSink{Name: "a"}, nil, nil, nil); len(found) != 0 || err != nil {
		t.Errorf("a sink without the ability: %v, %v", found, err)
	}
	s := &inspector{}
	h := &sinkHandler{sink: s, log: newLogOutput(io.Discard)}
	if found, err := h.Check(t.Context(), wire.OpenSink{Name: "b"}, nil, nil, nil); len(found) != 1 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if err := h.Open(t.Context(), wire.OpenSink{Name: "b"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Check(t.Context(), wire.OpenSink{Name: "b"}, nil, nil, nil); err == nil {
		t.Error("an open sink was checked")
	}
}
